//! A file that is only read, and devices of characters.

use std::io::IoSlice;
use std::sync::Arc;

use super::{Buffers, Errno, FileId, Object};
use crate::machine::cluster::Cluster;
use crate::machine::files::Device;
use crate::machine::real;
use crate::machine::world::Process;

/// An open file.
pub(crate) enum Content {
    /// One with bytes, and where the next read begins.
    Bytes {
        bytes: Arc<[u8]>,
        at: usize,
    },
    Device(Device),
}

impl Content {
    pub(crate) fn of(bytes: Vec<u8>) -> Self {
        Content::Bytes { bytes: bytes.into(), at: 0 }
    }
}

impl Cluster {
    fn content(&mut self, process: Process, fd: i32) -> Result<&mut Content, Errno> {
        match self.descriptors.file(process, fd)? {
            (_, super::File { object: Object::Content(content), .. }) => Ok(content),
            _ => Err(libc::ESPIPE),
        }
    }

    /// How long a file is; `None` for a device. `ESPIPE` for what has no such thing.
    pub(crate) fn file_length(&mut self, process: Process, fd: i32) -> Result<Option<usize>, Errno> {
        Ok(match self.content(process, fd)? {
            Content::Bytes { bytes, .. } => Some(bytes.len()),
            Content::Device(_) => None,
        })
    }

    /// lseek(2): where the next read begins.
    pub(crate) fn seek(&mut self, process: Process, fd: i32, offset: i64, whence: i32) -> Result<i64, Errno> {
        let Content::Bytes { bytes, at } = self.content(process, fd)? else { return Ok(0) };
        let base = match whence {
            libc::SEEK_SET => 0,
            libc::SEEK_CUR => *at as i64,
            libc::SEEK_END => bytes.len() as i64,
            _ => return Err(libc::EINVAL),
        };
        let to = base.checked_add(offset).filter(|to| *to >= 0).ok_or(libc::EINVAL)?;
        *at = to as usize;
        Ok(to)
    }

    /// Writes to a device. What is printed goes to the real process's stream.
    pub(super) fn write_device(device: Device, parts: &[IoSlice<'_>]) -> usize {
        if let Device::Output(fd) = device {
            for part in parts {
                let mut rest: &[u8] = part;
                while let Ok(n @ 1..) = usize::try_from(real::syscall(
                    libc::SYS_write,
                    [fd as usize, rest.as_ptr().expose_provenance(), rest.len(), 0, 0, 0],
                )) {
                    rest = &rest[n..];
                    if rest.is_empty() {
                        break;
                    }
                }
            }
        }
        parts.iter().map(|part| part.len()).sum()
    }

    /// Reads a file, from where the last read ended unless an offset is given (pread(2)).
    pub(crate) fn read_content(
        &mut self,
        id: FileId,
        buffers: &mut Buffers<'_>,
        offset: Option<usize>,
    ) -> Result<usize, Errno> {
        match &mut self.descriptors.get(id).object {
            Object::Content(Content::Bytes { bytes, at }) => {
                let from = offset.unwrap_or(*at).min(bytes.len());
                let n = buffers.room().min(bytes.len() - from);
                buffers.put(0, &bytes[from..from + n]);
                if offset.is_none() {
                    *at = from + n;
                }
                Ok(n)
            }
            Object::Content(Content::Device(Device::Null | Device::Output(_))) => Ok(0),
            Object::Content(Content::Device(device)) => {
                let is_random = *device == Device::Random;
                let mut drawn = vec![0; buffers.room()];
                if is_random {
                    let machine = self.descriptors.machine_of(id);
                    self.fill(machine, &mut drawn);
                }
                buffers.put(0, &drawn);
                Ok(drawn.len())
            }
            _ => Err(libc::EINVAL),
        }
    }
}
