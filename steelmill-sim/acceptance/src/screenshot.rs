//! Compressing a screenshot to a size that can be committed.

use std::io::Cursor;

use anyhow::{Context as _, Result, ensure};

/// Compresses a PNG as far as possible, and drops its alpha channel, which is opaque in a screenshot.
///
/// # Errors
/// Unless it is a PNG with eight-bit RGB or RGBA pixels.
pub fn compress(png: &[u8]) -> Result<Vec<u8>> {
    let mut reader = png::Decoder::new(Cursor::new(png)).read_info()?;
    let size = reader.output_buffer_size().context("the image is too large")?;
    let mut pixels = vec![0; size];
    let frame = reader.next_frame(&mut pixels)?;
    ensure!(frame.bit_depth == png::BitDepth::Eight, "not eight bits");
    let colours: Vec<u8> = match frame.color_type {
        png::ColorType::Rgb => pixels,
        png::ColorType::Rgba => pixels.chunks_exact(4).flat_map(|pixel| pixel[..3].to_vec()).collect(),
        other => anyhow::bail!("{other:?} is neither RGB nor RGBA"),
    };
    let mut small = Vec::new();
    let mut encoder = png::Encoder::new(&mut small, frame.width, frame.height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::High);
    encoder.write_header()?.write_image_data(&colours)?;
    Ok(small)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compressing_keeps_the_colours() -> Result<()> {
        let mut loose = Vec::new();
        let mut encoder = png::Encoder::new(&mut loose, 64, 64);
        encoder.set_color(png::ColorType::Rgba);
        encoder.set_compression(png::Compression::NoCompression);
        let pixels: Vec<u8> = (0..64 * 64).flat_map(|n| [n as u8, (n / 64) as u8, 7, 255]).collect();
        encoder.write_header()?.write_image_data(&pixels)?;
        let small = compress(&loose)?;
        assert!(small.len() < loose.len() / 4, "{} of {}", small.len(), loose.len());
        let mut reader = png::Decoder::new(Cursor::new(&small)).read_info()?;
        let mut colours = vec![0; reader.output_buffer_size().context("small enough")?];
        reader.next_frame(&mut colours)?;
        assert!(colours.chunks(3).zip(pixels.chunks(4)).all(|(ours, theirs)| ours == &theirs[..3]));
        Ok(())
    }
}
