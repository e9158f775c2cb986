//! Pictures of runs in a real browser: opening from disk, drawing, selecting, searching, filtering, zooming.

use anyhow::{Context as _, Result, ensure};
use steelmill_acceptance::{
    Page, beside, broken, burst, chatty, compress, hostile, leases, lonely, outage, story, wide, with_page,
};

const ENTER: char = '\u{e007}';
const ESCAPE: char = '\u{e00c}';

/// The window coordinates of an event, given the expression for its number.
async fn position_of(page: &Page, event: &str) -> Result<(f64, f64)> {
    let offset = "document.getElementById('canvas').getBoundingClientRect()";
    let lane = format!("picture.lifeX(picture.events.lane[{event}])");
    Ok((
        page.number(&format!("{offset}.x + {lane}")).await?,
        page.number(&format!("{offset}.y + picture.eventY({event})")).await?,
    ))
}

/// The expression for the first visible event that meets a condition on `i`, its number, and `told`, its text.
fn first(condition: &str) -> String {
    format!(
        "[...picture.visible()].find((i) => {{ const told = picture.eventText(i); return {condition}; }})"
    )
}

/// The number of different colours in the drawing.
const COLOURS: &str = "(() => { const c = document.getElementById('canvas');
    const { data } = c.getContext('2d').getImageData(0, 0, c.width, c.height);
    return new Set(new Uint32Array(data.buffer)).size; })()";

#[test]
fn a_picture_opens_from_disk_and_makes_no_network_request() {
    with_page(&story().to_html(), async |page| {
        page.settle().await?;
        let unexpected = page.console_and_requests().await?;
        ensure!(unexpected.is_empty(), "{unexpected:#?}");
        ensure!(page.text("document.title").await? == "a story");
        page.expect("document.getElementById('failure').textContent.startsWith('not linearizable')").await?;
        page.expect("document.getElementById('command').textContent === 'cargo xtask sim --seed 1'").await?;
        page.expect("document.getElementById('when').textContent.includes('inevitable from')").await?;
        page.click("#copy").await?;
        page.expect("document.getElementById('copy').textContent === 'Copied'").await?;
        // A request is blocked by the page's policy, and logged.
        page.value("document.body.append(Object.assign(new Image(), { src: 'http://127.0.0.1:9/x.png' }))")
            .await?;
        page.settle().await?;
        ensure!(!page.console_and_requests().await?.is_empty(), "a request was not noticed");
        Ok(())
    });
}

#[test]
fn a_picture_draws_machines_messages_faults_states_and_operations() {
    with_page(&story().to_html(), async |page| {
        page.keys("0").await?;
        ensure!(page.number(COLOURS).await? > 50.0, "the drawing is blank");
        for part in ["arrows", "boxes", "labels", "strips", "faults"] {
            page.expect(&format!("picture.drawn.{part}.length > 0")).await?;
        }
        page.expect("picture.drawn.marks > 40 && !picture.drawn.density").await?;
        page.expect("picture.drawn.boxes.filter(({ n }) => picture.operations.blamed[n]).length >= 2")
            .await?;
        for fate in ["delivered", "late"] {
            page.expect(&format!(
                "picture.drawn.arrows.some((n) => picture.messages.fate[n] === picture.FATE.{fate})"
            ))
            .await?;
        }
        page.expect("picture.lanes().map((lane) => picture.data.lanes[lane]).join() === 'scenario,server,spare,client-1'")
            .await
    });
}

#[test]
fn a_click_shows_an_event_with_its_causes_and_effects() {
    with_page(&story().to_html(), async |page| {
        page.keys("0").await?;
        // The server receives "again", which wakes the task that sends it back.
        let arrival = first("picture.events.kind[i] === picture.KIND.arrival && told.includes('again')");
        page.value(&format!(
            "(window.arrival = {arrival}, picture.select(window.arrival), picture.select(-1))"
        ))
        .await?;
        page.settle().await?;
        let (x, y) = position_of(page, "window.arrival").await?;
        page.click_at(x, y).await?;
        page.expect("picture.view.selected === window.arrival").await?;
        page.expect("document.querySelector('#panel h2').textContent.includes('again')").await?;
        let told = page.text("document.getElementById('panel').textContent").await?;
        for part in ["message arrives", "machineserver", "connection", "late, after", "the link was cut"] {
            ensure!(told.contains(part), "no {part:?} in: {told}");
        }
        page.expect("document.querySelectorAll('#causes [data-event]').length > 2").await?;
        page.expect("document.querySelectorAll('#effects [data-event]').length > 0").await?;
        page.expect("document.querySelector('#logs').textContent.includes('a connection is accepted')")
            .await?;
        page.expect("picture.related.chain.length > 2 && picture.related.effects.length > 2").await?;
        // The first cause is the sending of the message, and the first effect of that is the arrival.
        page.click("#causes [data-event]").await?;
        page.expect("picture.view.selected === picture.events.cause[window.arrival]").await?;
        page.expect("document.querySelector('#panel p').textContent === 'message leaves'").await?;
        page.click("#effects [data-event]").await?;
        page.expect("picture.view.selected === window.arrival").await
    });
}

#[test]
fn keys_select_events_change_the_axis_and_open_the_help() {
    with_page(&story().to_html(), async |page| {
        page.click_at(4.0, 4.0).await?;
        page.keys("0j").await?;
        page.expect("picture.view.selected === picture.visible()[0]").await?;
        page.keys("jjk").await?;
        page.expect("picture.view.selected === picture.visible()[1]").await?;
        page.keys("f").await?;
        page.expect("picture.view.selected === picture.data.failure.event").await?;
        page.keys("c").await?;
        page.expect("picture.view.selected === picture.events.cause[picture.data.failure.event]").await?;
        page.expect("document.getElementById('spoken').textContent.includes('seconds')").await?;
        page.keys(&ESCAPE.to_string()).await?;
        page.expect("picture.view.selected === -1").await?;
        page.keys("a").await?;
        page.expect("picture.view.axis.name === 'steps'").await?;
        page.keys("?").await?;
        page.expect("document.getElementById('keys').open").await
    });
}

#[test]
fn keys_move_from_a_hidden_event_to_its_visible_neighbours() {
    with_page(&story().to_html(), async |page| {
        // Timers and new tasks are hidden by default.
        let cause = "picture.events.cause[i]";
        let whose_cause_is_hidden =
            first(&format!("{cause} > picture.visible()[5] && !picture.visible().includes({cause})"));
        page.value(&format!("picture.select({whose_cause_is_hidden})")).await?;
        page.click_at(4.0, 4.0).await?;
        page.keys("c").await?;
        page.expect("!picture.visible().includes(window.hidden = picture.view.selected)").await?;
        page.keys("k").await?;
        page.expect("picture.view.selected === picture.visible().findLast((i) => i < window.hidden)").await?;
        page.value("picture.select(window.hidden)").await?;
        page.keys("j").await?;
        page.expect("picture.view.selected === picture.visible().find((i) => i > window.hidden)").await?;
        page.keys("k").await?;
        page.expect("picture.view.selected === picture.visible().findLast((i) => i < window.hidden)").await
    });
}

#[test]
fn messages_to_oneself_and_to_no_host_are_drawn_and_can_be_clicked() {
    with_page(&lonely().to_html(), async |page| {
        page.keys("0").await?;
        page.expect(
            "picture.lanes().map((lane) => picture.data.lanes[lane]).join() === 'scenario,hermit,nobody'",
        )
        .await?;
        page.expect("picture.drawn.arrows.length === picture.messages.sent.length").await?;
        let lost = first("told === 'lost, from hermit to nobody: anybody?, 8 bytes'");
        page.value(&format!("window.lost = {lost}")).await?;
        // Its arrow ends halfway.
        let (nobody, y) = position_of(page, "window.lost").await?;
        let way = page.number("picture.lifeX(2) - picture.lifeX(1)").await?;
        page.click_at(nobody - way / 2.0, y).await?;
        page.expect("picture.view.selected === window.lost").await?;

        // The arrow to itself begins and ends on the machine's line, and bends away from it in between.
        page.keys(&ESCAPE.to_string()).await?;
        let note = first("told === 'to hermit: a note, 6 bytes'");
        let arrival = first("told === 'from hermit: a note, 6 bytes'");
        page.value(&format!("(window.note = {note}, window.arrival = {arrival})")).await?;
        let ((x, y0), (_, y1)) =
            (position_of(page, "window.note").await?, position_of(page, "window.arrival").await?);
        ensure!(y1 - y0 > 40.0, "there is room between {y0} and {y1}");
        for share in [0.25_f64, 0.5, 0.75] {
            let y = y0 + (y1 - y0) * share * share * (3.0 - 2.0 * share);
            page.click_at(x + 66.0 * share * (1.0 - share), y).await?;
            page.expect("[window.note, window.arrival].includes(picture.view.selected)").await?;
            page.click_at(x, y).await?;
            page.expect(&format!("{} || picture.view.selected === -1", share != 0.5)).await?;
            page.keys(&ESCAPE.to_string()).await?;
        }
        Ok(())
    });
}

#[test]
fn each_of_many_child_factories_has_its_strip() {
    let strips = "picture.drawn.strips.map(({ n }) => picture.data.words[picture.states.factory[n]])";
    with_page(&leases(40, 0).to_html(), async |page| {
        page.keys("0").await?;
        for lease in [1, 2, 20, 40] {
            page.expect(&format!("{strips}.some((factory) => factory.endsWith('/lease-{lease}'))")).await?;
        }
        // Child factories in sequence share a column.
        page.expect("new Set(picture.drawn.strips.map(({ x }) => x)).size === 3").await
    });
    // With many machines, the narrow space of each is shared.
    with_page(&leases(2, 40).to_html(), async |page| {
        page.keys("0").await?;
        page.expect("picture.view.left === 0 && picture.lanes().length > 40").await?;
        page.value(&format!("picture.select({})", first("told.startsWith('gateway/lease-1')"))).await?;
        page.settle().await?;
        page.expect("new Set(picture.drawn.strips.map(({ x }) => x)).size === 3").await
    });
}

#[test]
fn a_row_with_65536_events_is_drawn_as_dense() {
    // A 16-bit counter would overflow to zero.
    with_page(&burst(1 << 16).to_html(), async |page| {
        page.click("input[value=time] + span").await?;
        page.click("#fit").await?;
        page.expect("picture.drawn.density").await?;
        // The text of the failure covers no event.
        page.expect("picture.drawn.failure.y >= picture.eventY(picture.data.failure.event)").await?;
        let said = first("told === 'at once'");
        let row = format!(
            "(() => {{ const i = {said}; const c = document.getElementById('canvas').getContext('2d');
            const row = c.getImageData(picture.lifeX(picture.events.lane[i]) - 2, picture.eventY(i) - 3, 30, 6).data;
            return new Set(new Uint32Array(row.buffer)).size; }})()"
        );
        let colours = page.number(&row).await?;
        ensure!(colours > 1.0, "nothing is drawn there");
        let bar = format!(
            "(() => {{ const i = {said}; const c = document.getElementById('canvas').getContext('2d');
            const at = (y) => c.getImageData(picture.lifeX(picture.events.lane[i]) + 25, y, 1, 8).data.join();
            return at(picture.eventY(i) - 4) !== at(picture.eventY(i) + 40); }})()"
        );
        page.expect(&bar).await
    });
}

#[test]
fn one_click_shows_where_the_failure_became_inevitable() {
    with_page(&story().to_html(), async |page| {
        let turn = "picture.data.failure_rates.find(({ failed, runs }) => failed === runs).until";
        let y = format!("(picture.view.axis.of({turn}) - picture.view.top) * picture.view.scale");
        page.keys("f+++++").await?;
        page.expect(&format!("{y} < 0")).await?;
        page.click("#when button").await?;
        page.expect(&format!("{y} > 100 && {y} < picture.view.height - 100")).await?;
        page.expect("picture.view.selected === -1 && picture.view.scale > 1.5 * picture.view.height / picture.view.axis.length")
            .await
    });
}

#[test]
fn a_search_finds_log_lines_operations_and_messages() {
    with_page(&story().to_html(), async |page| {
        page.keys("/Needle HAYSTACK").await?;
        page.expect("picture.search.found.length === 1").await?;
        page.keys(&ENTER.to_string()).await?;
        page.expect("picture.eventText(picture.view.selected) === 'the needle in the haystack'").await?;
        page.expect("document.getElementById('matches').textContent === '1 of 1'").await?;
        page.value(
            "(document.getElementById('search').value = '', document.getElementById('search').focus())",
        )
        .await?;
        page.keys("GET a").await?;
        page.expect("picture.search.found.length >= 2").await?;
        page.click("#next").await?;
        let one = page.number("picture.view.selected").await?;
        page.click("#next").await?;
        ensure!(page.number("picture.view.selected").await? != one, "there is more than one");
        page.click("#previous").await?;
        ensure!(page.number("picture.view.selected").await? == one, "there and back again");
        page.value("document.getElementById('search').focus()").await?;
        page.keys("nobody says this").await?;
        page.expect("document.getElementById('matches').textContent === 'none'").await
    });
}

#[test]
fn filtered_events_are_not_shown() {
    with_page(&story().to_html(), async |page| {
        page.keys("0").await?;
        let all = page.number("picture.visible().length").await?;
        page.click("input[name=messages] + span").await?;
        page.expect("picture.drawn.arrows.length === 0").await?;
        page.expect("[...picture.visible()].every((i) => picture.events.kind[i] > picture.KIND.lost)")
            .await?;
        page.click("input[name=messages] + span").await?;
        page.expect(&format!("picture.visible().length === {all}")).await?;

        page.click("#machines summary").await?;
        page.click("#machines input[data-name=spare]").await?;
        page.expect("!picture.lanes().some((lane) => picture.data.lanes[lane] === 'spare')").await?;
        page.expect(
            "picture.drawn.arrows.every((n) => picture.data.lanes[picture.messages.to[n]] !== 'spare')",
        )
        .await?;
        page.expect("![...picture.visible()].some((i) => picture.eventText(i).startsWith('to spare') || picture.eventText(i).startsWith('from spare'))").await?;
        page.click("#machines .both button").await?;
        page.expect(&format!("picture.visible().length === {all}")).await?;
        page.keys(&ESCAPE.to_string()).await?;

        page.click("#daemons summary").await?;
        page.click("#daemons input[data-name=Echo]").await?;
        let left = page.number("picture.visible().length").await?;
        ensure!(left < all, "the daemon did something");
        page.click("#daemons .both button").await?;

        page.value(
            "(() => { const list = document.getElementById('connection'); list.value = list.options[1].value;
            list.dispatchEvent(new Event('change')); })()",
        )
        .await?;
        page.settle().await?;
        page.expect(
            "document.getElementById('connection').selectedOptions[0].textContent === '0: client-1 – server'",
        )
        .await?;
        page.expect("picture.filter.connection >= 0 && picture.drawn.arrows.length > 0").await?;
        page.expect(
            "picture.drawn.arrows.every((n) => picture.messages.connection[n] === picture.filter.connection)",
        )
        .await
    });
}

#[test]
fn wheel_drag_and_buttons_move_the_view() {
    with_page(&chatty(2_000).to_html(), async |page| {
        page.keys("0").await?;
        let scale = page.number("picture.view.scale").await?;
        page.wheel((600, 500), -300, true).await?;
        let nearer = page.number("picture.view.scale").await?;
        ensure!(nearer > scale * 2.0, "{nearer} from {scale}");
        page.click("#in").await?;
        ensure!(page.number("picture.view.scale").await? > nearer * 1.5);
        page.click("#out").await?;
        let top = page.number("picture.view.top").await?;
        page.wheel((600, 500), 200, false).await?;
        let lower = page.number("picture.view.top").await?;
        ensure!(lower > top, "{lower} is not below {top}");
        page.drag((600.0, 400.0), (600.0, 500.0)).await?;
        let moved =
            (lower - page.number("picture.view.top").await?) * page.number("picture.view.scale").await?;
        ensure!((moved - 100.0).abs() < 2.0, "the drawing follows the pointer, {moved} pixels for 100");
        page.click("#fit").await?;
        ensure!((page.number("picture.view.scale").await? - scale).abs() < scale / 1000.0);
        // Zooming keeps the time under the pointer.
        let under = "picture.view.axis.time(picture.view.top + 300 / picture.view.scale)";
        let stage = page.number("document.getElementById('canvas').getBoundingClientRect().y").await?;
        let before = page.number(under).await?;
        page.wheel((600, stage as i64 + 330), -200, true).await?;
        let after = page.number(under).await?;
        ensure!((before - after).abs() < before / 50.0, "{before} became {after}");
        Ok(())
    });
}

#[test]
fn idle_time_is_folded_unless_the_axis_is_linear() {
    with_page(&story().to_html(), async |page| {
        let share = "(() => { const { axis } = picture.view; const { at } = picture.events;
            let most = 0, share = 0;
            for (let i = 1; i < at.length; i++) if (at[i] - at[i - 1] > most) {
                most = at[i] - at[i - 1]; share = (axis.position[i] - axis.position[i - 1]) / axis.length; }
            return share; })()";
        ensure!(page.number(share).await? < 0.5, "folded");
        page.expect("picture.view.axis.folds.length > 0").await?;
        page.click("input[value=time] + span").await?;
        ensure!(page.number(share).await? > 0.9, "as time passes");
        page.click("input[value=steps] + span").await?;
        ensure!(page.number(share).await? < 0.05, "in steps");
        // Events are in the same order on each axis.
        page.expect("picture.view.axis.position.every((y, i, all) => i === 0 || y >= all[i - 1])").await
    });
}

#[test]
fn the_theme_follows_the_system_or_the_button() {
    with_page(&story().to_html(), async |page| {
        let ground = "[...document.getElementById('canvas').getContext('2d').getImageData(20, 200, 1, 1).data].slice(0, 3).join()";
        page.set_system_color_scheme("light").await?;
        page.expect("document.documentElement.dataset.theme === 'light'").await?;
        ensure!(page.text(ground).await? == "255,255,255");
        page.set_system_color_scheme("dark").await?;
        page.expect("document.documentElement.dataset.theme === 'dark'").await?;
        let dark = page.text(ground).await?;
        ensure!(dark.split(',').all(|part| part.parse().is_ok_and(|part: u8| part < 48)), "{dark}");
        page.click("#theme").await?;
        page.expect("document.documentElement.dataset.theme === 'light'").await?;
        page.click("#theme").await?;
        page.set_system_color_scheme("light").await?;
        page.expect("document.documentElement.dataset.theme === 'dark'").await
    });
}

/// The pairs of text and background colours whose WCAG 2 contrast is below 4.5.
const CONTRASTS: &str = "(() => { const style = getComputedStyle(document.documentElement);
    const light = (name) => { const [r, g, b] = style.getPropertyValue(name).trim().match(/[0-9a-f]{2}/gi)
        .map((part) => parseInt(part, 16) / 255).map((c) => (c <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4));
        return .2126 * r + .7152 * g + .0722 * b; };
    const pairs = ['--ground', '--panel', '--raised', '--stripe'].flatMap((ground) =>
        ['--ink', '--muted', '--accent', '--bad', '--late', '--reset'].map((word) => [word, ground]))
        .concat([['--ink', '--bad-soft'], ['--bad', '--bad-soft'], ['--ink', '--accent-soft'], ['--ground', '--accent'],
            ['--ground', '--bad'], ['--ink', '--operation']]);
    return pairs.map(([word, ground]) => { const [a, b] = [light(word), light(ground)];
        return [`${word} on ${ground}`, (Math.max(a, b) + .05) / (Math.min(a, b) + .05)]; })
        .filter(([, contrast]) => contrast < 4.5); })()";

#[test]
fn text_has_contrast_and_every_control_has_a_name() {
    with_page(&story().to_html(), async |page| {
        for scheme in ["light", "dark"] {
            page.set_system_color_scheme(scheme).await?;
            let faint = page.value(CONTRASTS).await?;
            ensure!(faint.as_array().is_some_and(Vec::is_empty), "{scheme}: {faint}");
        }
        let nameless = page
            .value(
                "[...document.querySelectorAll('button, input, select, summary, [role]')].filter((it) =>
                !(it.getAttribute('aria-label') || it.textContent.trim() || it.labels?.[0]?.textContent.trim()
                    || it.getAttribute('role') === 'status')).map((it) => it.outerHTML)",
            )
            .await?;
        ensure!(nameless.as_array().is_some_and(Vec::is_empty), "{nameless}");
        page.expect(
            "document.documentElement.lang === 'en' && document.getElementById('canvas').tabIndex === 0",
        )
        .await
    });
}

#[test]
fn the_work_per_frame_is_bounded_with_100_000_events() {
    let picture = chatty(100_000);
    let html = picture.to_html();
    ensure_small(&html);
    with_page(&html, async |page| {
        page.expect("picture.events.count >= 100000").await?;
        let loaded =
            page.number("performance.timing.loadEventEnd - performance.timing.navigationStart").await?;
        println!("100,000 events: {} kB, loaded in {loaded} ms", html.len() / 1000);
        let mut frames = Vec::new();
        for axis in ["time", "folded", "steps"] {
            page.click(&format!("input[value={axis}] + span")).await?;
            page.click("#fit").await?;
            page.expect("document.getElementById('status').textContent.includes('messages drawn')").await?;
            // Zoom all the way in, and scroll a little at each step.
            for _ in 0..18 {
                page.settle().await?;
                for (work, most) in [
                    ("picture.drawn.marks", 5_000 + 8 * 500),
                    ("picture.drawn.arrows.length", 3_000),
                    ("picture.drawn.boxes.length", 5_000),
                    ("picture.drawn.labels.length", 600),
                ] {
                    let done = page.number(work).await?;
                    ensure!(done <= f64::from(most), "{work} is {done} on the {axis} axis");
                }
                frames.push(page.number("picture.drawn.ms").await?);
                page.click("#in").await?;
                page.wheel((600, 500), 240, false).await?;
            }
            page.expect("!picture.drawn.density && !picture.drawn.thinned && picture.drawn.looked < 3000")
                .await?;
            page.expect("picture.drawn.marks > 0 && picture.drawn.arrows.length > 0").await?;
        }
        frames.sort_by(f64::total_cmp);
        let last = frames.last().context("there were frames")?;
        println!(
            "{} frames: half within {:.1} ms, the longest {last:.1} ms",
            frames.len(),
            frames[frames.len() / 2]
        );
        Ok(())
    });
}

fn ensure_small(html: &str) {
    assert!(html.len() < 15_000_000, "{} bytes", html.len());
}

#[test]
fn texts_of_a_run_are_escaped() {
    with_page(&hostile().to_html(), async |page| {
        page.keys("0").await?;
        page.click("#machines summary").await?;
        page.click("#daemons summary").await?;
        // Select every event, so that the panel has shown each text.
        let count = page.number("picture.visible().length").await? as usize;
        ensure!(count >= 5, "{count} events");
        for i in 0..count {
            page.value(&format!("picture.select(picture.visible()[{i}])")).await?;
        }
        page.settle().await?;
        page.expect("window.evil === undefined && document.querySelectorAll('img').length === 0").await?;
        page.expect("document.scripts.length === 2").await?;
        page.expect("document.getElementById('title').textContent.startsWith('</script><script>')").await?;
        page.expect("document.getElementById('failure').textContent.includes('<img src=x')").await?;
        page.expect(&format!("{} !== undefined", first("told.startsWith('</script><script>window.evil')")))
            .await?;
        let unexpected = page.console_and_requests().await?;
        ensure!(unexpected.is_empty(), "{unexpected:#?}");
        Ok(())
    });
}

#[test]
fn a_thousand_machines_can_be_scrolled_and_silent_ones_are_hidden() {
    with_page(&wide(1_000).to_html(), async |page| {
        // The run is green: no failure to go to, and no replay command.
        page.expect("['end', 'replay'].every((id) => document.getElementById(id).offsetParent === null)")
            .await?;
        page.expect("picture.lanes().length >= 1000 && picture.lanes().length <= 1001").await?;
        page.expect("!picture.lanes().some((lane) => picture.data.lanes[lane].startsWith('silent'))").await?;
        page.keys("0").await?;
        page.expect("picture.drawn.marks < 6000").await?;
        let last = first("told.startsWith('from machine-997')");
        page.value(&format!("picture.select({last})")).await?;
        page.settle().await?;
        let (x, _) = position_of(page, &last).await?;
        ensure!((150.0..1_200.0).contains(&x), "it was scrolled into view: {x}");
        page.expect("picture.view.left > 10000 && picture.drawn.frames > 0").await?;
        println!("a thousand machines: a frame takes {:.1} ms", page.number("picture.drawn.ms").await?);
        Ok(())
    });
}

/// The demo's canary, which `cargo xtask acceptance` has explained beforehand.
#[test]
fn a_red_seed_of_the_demo_is_explained_in_a_picture() {
    let Some(file) = std::env::var_os("STEELMILL_ACCEPTANCE_DEMO") else {
        panic!(
            "STEELMILL_ACCEPTANCE_DEMO names no picture; `cargo xtask acceptance` makes one and says where"
        );
    };
    let html = std::fs::read_to_string(file).expect("the picture is there");
    with_page(&html, async |page| {
        page.settle().await?;
        let unexpected = page.console_and_requests().await?;
        ensure!(unexpected.is_empty(), "{unexpected:#?}");
        page.expect("document.getElementById('failure').textContent.startsWith('not linearizable')").await?;
        page.expect("document.getElementById('command').textContent.includes('--faults=')").await?;
        page.expect("document.querySelectorAll('#faults button').length === 1").await?;
        let said = page.text("document.getElementById('story').textContent").await?;
        for part in
            [" lapse: gateway-", "logs “no longer holds the lease", " answers client-", "had returned at "]
        {
            ensure!(said.contains(part), "no {part:?} in: {said}");
        }
        page.expect("picture.drawn.boxes.filter(({ n }) => picture.operations.blamed[n]).length > 0").await?;
        page.expect("picture.drawn.arrows.length > 0 && picture.drawn.strips.length > 0").await?;
        page.expect("picture.filter.few && picture.visible().length < 100").await?;
        page.click("#story button:last-of-type").await?;
        page.expect("picture.operations.blamed[picture.events.of[picture.view.selected]] === 1").await?;
        page.expect("picture.related.chain.length > 4").await?;
        if let Some(file) = std::env::var_os("STEELMILL_ACCEPTANCE_SCREENSHOT") {
            // As it opens.
            page.keys(&ESCAPE.to_string()).await?;
            page.resize(1_380, 1_060).await?;
            page.click_at(4.0, 4.0).await?;
            page.keys("0").await?;
            page.set_system_color_scheme("light").await?;
            std::fs::write(file, compress(&page.screenshot().await?)?)?;
        }
        Ok(())
    });
}

#[test]
fn a_picture_says_what_happened_and_lists_the_events_that_matter() {
    with_page(&story().to_html(), async |page| {
        let said = page.text("document.getElementById('story').textContent").await?;
        // A client's name is quoted as it is; the fault is the scenario's own, so the plan has none.
        ensure!(
            said.contains("s server answers client-1’s GET a with \"1\", though client-1’s SET a "),
            "{said}"
        );
        page.click("#story button").await?;
        page.expect("picture.view.selected === picture.story.key").await?;
        page.keys(&ESCAPE.to_string()).await?;
        page.expect("document.querySelectorAll('#story-events [data-event]').length > 1").await?;
        page.expect("document.querySelectorAll('#story-events [data-event]').length <= 12").await?;
        page.click("#story-events [data-event]").await?;
        page.expect("picture.view.selected === picture.story.events[0]").await?;
        Ok(())
    });
    // A green run has nothing to explain.
    with_page(&wide(3).to_html(), async |page| {
        page.expect(
            "document.getElementById('story').textContent === '' && !document.getElementById('story-events')",
        )
        .await
    });
}

#[test]
fn an_event_has_a_link_times_are_measured_and_patterns_hide_events() {
    with_page(&story().to_html(), async |page| {
        page.value("location.hash = 'event=7'").await?;
        page.expect("picture.view.selected === 7").await?;
        page.value("location.hash = 'event=999999999'").await?;
        page.expect("picture.view.selected === 7").await?;
        page.click_at(4.0, 4.0).await?;
        page.keys("fm").await?;
        page.expect("picture.view.mark === picture.data.failure.event").await?;
        page.value("picture.select(picture.visible()[0])").await?;
        page.expect("document.querySelector('#panel dl').textContent.includes('since mark−')").await?;
        page.keys("fm").await?;
        page.expect("picture.view.mark === -1").await?;

        let all = page.number("picture.visible().length").await?;
        page.value("document.getElementById('hide').focus()").await?;
        page.keys("needle, SPARE").await?;
        ensure!(page.number("picture.visible().length").await? < all, "nothing is hidden");
        page.expect("![...picture.visible()].some((i) => /needle|spare/.test(picture.eventText(i)))").await?;
        Ok(())
    });
}

#[test]
fn a_long_run_opens_with_the_few_events_that_matter() {
    with_page(&outage().to_html(), async |page| {
        page.expect("picture.filter.few && picture.events.count > 1000 && picture.visible().length < 60")
            .await?;
        let said = page.text("document.getElementById('story').textContent").await?;
        let expected =
            ["At 4.000 s server is paused, until 6.000 s. At ", "the check fails: one answer was late."];
        ensure!(expected.iter().all(|part| said.contains(part)), "{said}");
        // The fault, what was late because of it, and the failure.
        for told in ["server is paused", "ends: server is paused", "the run fails"] {
            page.expect(&format!("[...picture.visible()].some((i) => picture.eventText(i) === '{told}')"))
                .await?;
        }
        // All else is a click, a key or a search away.
        page.click("#few + span").await?;
        page.expect("picture.visible().length > 1000").await?;
        page.click_at(4.0, 4.0).await?;
        page.keys("s").await?;
        page.expect("picture.filter.few && picture.visible().length < 60").await?;
        page.keys("/round 7 ").await?;
        page.expect("!picture.filter.few && picture.search.found.length > 0").await
    });
    // A short run is shown as a whole.
    with_page(&story().to_html(), async |page| page.expect("!picture.filter.few").await);
}

#[test]
fn a_handshake_is_one_row() {
    with_page(&story().to_html(), async |page| {
        let whats = "picture.drawn.arrows.map((n) => picture.data.words[picture.messages.what[n]])";
        page.keys("0").await?;
        page.expect(&format!("{whats}.filter((what) => what === 'connect').length === 2")).await?;
        page.expect(&format!("!{whats}.includes('accepted') && !{whats}.includes('connected')")).await?;
        page.click("input[name=handshakes] + span").await?;
        page.settle().await?;
        page.expect(&format!("{whats}.includes('accepted') && {whats}.includes('connected')")).await
    });
}

#[test]
fn a_backtrace_is_folded_and_a_narrow_window_scrolls() {
    let text = format!("it broke\n  in a task\n   0: one::frame\n{}", "   1: another::frame\n".repeat(50));
    with_page(&broken(&text).to_html(), async |page| {
        page.expect(
            "document.querySelector('#failure summary').textContent === '52 more lines: the backtrace'",
        )
        .await?;
        page.expect("document.getElementById('failure').offsetHeight < 100").await?;
        page.click("#failure summary").await?;
        page.expect("document.getElementById('failure').offsetHeight > 250").await?;
        page.resize(520, 800).await?;
        page.expect("document.documentElement.scrollHeight > 1000 && document.documentElement.scrollWidth <= innerWidth")
            .await?;
        // The drawing has most of the window, and the lanes most of the drawing.
        page.expect("picture.view.height > innerHeight / 2 && picture.view.height < innerHeight").await
    });
}

#[test]
fn a_green_run_is_shown_beside_the_red_one() {
    with_page(&beside().to_html(), async |page| {
        let told = "[...picture.visible()].map((i) => picture.eventText(i))";
        page.expect("picture.twin !== null && picture.lanes().length === 4").await?;
        page.expect(&format!("{told}.includes('right is first') && !{told}.includes('left. is first')"))
            .await?;
        page.click_at(4.0, 4.0).await?;
        page.keys("g").await?;
        page.settle().await?;
        page.expect("picture.lanes().length === 8").await?;
        page.expect(&format!("{told}.includes('right is first') && {told}.includes('left. is first')"))
            .await?;
        // What they have in common is there once, before the line.
        page.expect(&format!("{told}.filter((told) => told === 'ready').length === 1")).await?;
        page.expect("[...picture.visible()].every((i) => picture.eventText(i) !== 'ready' || i < picture.twin.common)")
            .await?;
        page.expect("document.getElementById('panel').textContent.includes('drawn anew')").await?;
        page.expect("picture.story.events.every((i) => picture.events.lane[i] < 4)").await?;
        // A machine is hidden in both.
        page.click("#machines summary").await?;
        page.click("#machines input[data-name=left]").await?;
        page.expect("picture.lanes().length === 6").await?;
        page.keys(&ESCAPE.to_string()).await?;
        page.click("#twin").await?;
        page.settle().await?;
        page.expect("picture.lanes().length === 3").await
    });
    with_page(&story().to_html(), async |page| {
        page.expect("picture.twin === null && document.getElementById('twin').hidden").await
    });
}

#[test]
fn latencies_are_drawn_over_time_with_the_faults_behind() {
    with_page(&outage().to_html(), async |page| {
        page.expect("picture.latencies.of === 'messages' && picture.latencies.points.length > 1000").await?;
        // A click on the highest point shows one of the messages that took longest.
        let spot = "((box, spots) => { const it = spots.reduce((a, b) => (b.y < a.y ? b : a));
            return [box.x + it.x * box.width / 340, box.y + it.y * box.height / 110]; })(
            (document.getElementById('latency').scrollIntoView(), document.getElementById('latency').getBoundingClientRect()),
            picture.spotsOf(picture.latencies.points))";
        let spot = page.value(spot).await?;
        let number = |n: usize| spot[n].as_f64().context("it is no number");
        page.click_at(number(0)?, number(1)?).await?;
        page.expect(
            "picture.latencies.points.find(({ event }) => event === picture.view.selected).took
            > .8 * Math.max(...picture.latencies.points.map(({ took }) => took))",
        )
        .await
    });
}
