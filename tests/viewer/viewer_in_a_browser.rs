//! The viewer's page in a real browser: what a person sees, clicks and types.
//!
//! Skipped, with a line that says so, where there is no Chromium (`CHROMIUM` names another place).
//! Times are printed (`--nocapture`), not asserted; pictures are left in `target/viewer/`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test may panic"
)]

#[path = "../support/browser.rs"]
mod browser;
#[path = "../support/shop.rs"]
mod shop;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use browser::Browser;
use shop::{Dice, Draft, checkout, send, small};
use tracing::{Dispatch, dispatcher, info, info_span, warn};
use tracing_subscriber::layer::SubscriberExt as _;

const EVIL: &str = "<img src=x onerror=window.hacked=1><script>window.hacked=1</script>";

const SIDEWAYS: &str =
    "document.documentElement.scrollWidth > document.documentElement.clientWidth";

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_nanos() as u64
}

#[test]
fn a_person_finds_traces_reads_one_and_is_not_attacked_by_it() {
    let Some(program) = browser::find() else {
        println!("SKIPPED: there is no Chromium here (apt-get install chromium, or set CHROMIUM)");
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(visit(Browser::start(&program)));
}

async fn visit(browser: impl Future<Output = Browser>) {
    let viewer = tracing_otlp::viewer()
        .with_port(0)
        .with_otlp_address("127.0.0.1:0".parse().unwrap())
        .with_announcement(false)
        .build()
        .unwrap();
    let (url, otlp) = (viewer.url().unwrap().to_owned(), viewer.otlp_addresses()[0]);
    let site = url.split("/?").next().unwrap().to_owned();
    let (layer, guard) = tracing_otlp::builder()
        .with_service_name("live")
        .with_exporter(viewer)
        .with_open_spans_after(Duration::from_millis(50))
        .with_logs(tracing_otlp::Events::AsBoth)
        .build()
        .unwrap();
    let dispatch = Dispatch::new(tracing_subscriber::registry().with(layer));
    let mut page = browser.await;

    // Without the token nothing is shown.
    page.call("Page.navigate", serde_json::json!({ "url": site }))
        .await;
    page.until("document.body.innerText.includes('needs a token')")
        .await;
    page.complaints.clear();

    // The printed address: the token leaves it, and the page says what to do.
    page.look(1280, 800, "light").await;
    page.open(&url).await;
    assert_eq!(page.eval("location.href").await, format!("{site}/"));
    assert_eq!(
        page.eval("document.cookie").await,
        "",
        "a script can read the cookie"
    );
    page.until("document.body.innerText.includes('Waiting for the first trace')")
        .await;
    page.until("document.getElementById('live').className === 'on'")
        .await;
    page.until("document.body.innerText.includes('OTEL_EXPORTER_OTLP_ENDPOINT')")
        .await;
    page.picture("empty").await;

    // A span shows soon after its close.
    dispatcher::with_default(&dispatch, || {
        drop(info_span!("first light"));
    });
    let closed = Instant::now();
    page.until("document.querySelector('.trace b')?.textContent === 'first light'")
        .await;
    println!("a span shows {:?} after its close", closed.elapsed());

    // A name with markup is text.
    let mut evil = Draft::new(0xe1, now());
    let root = evil.span(
        "web",
        0,
        EVIL,
        2,
        0,
        900,
        &[(EVIL, EVIL), ("http.route", "/evil")],
    );
    evil.event(root, EVIL, 5, &[("e", EVIL)]);
    evil.link(root, 0xe2);
    evil.fail(root, EVIL);
    send(otlp, vec![evil]);
    page.until("document.querySelector('.trace b').textContent.startsWith('<img')")
        .await;
    page.click(".trace").await;
    page.until("document.querySelector('#panel dd')?.textContent.startsWith('<img')")
        .await;
    page.until("document.querySelector('#panel .status').textContent.includes('<script>')")
        .await;
    assert_eq!(
        page.eval("document.querySelectorAll('img, main script').length")
            .await,
        0
    );
    assert_eq!(page.eval("window.hacked ?? 0").await, 0);
    page.press("Escape").await;
    page.until("location.pathname === '/' && document.querySelector('.trace')")
        .await;

    // A shop with four services, for ten minutes.
    let (mut dice, mut drafts) = (Dice::new(7), Vec::new());
    for i in 0..160_u64 {
        let at = now() - (160 - i) * 3_700_000_000;
        let id = 0x64a1_9078_9ff9_6971_b6b5_3c36_4c1d_0000 + u128::from(i);
        drafts.push(match i % 3 {
            0 => checkout(id, at, &mut dice, i % 33 == 0),
            _ => small(id, at, &mut dice),
        });
    }
    // The fifth of those that fail, one in 33.
    let failed = drafts[132].id;
    send(otlp, drafts);
    page.until("document.querySelectorAll('.trace').length === 162")
        .await;
    page.until("document.querySelectorAll('#plot .dot').length > 100")
        .await;
    page.until("document.querySelectorAll('#names tr').length > 4")
        .await;
    page.picture("list-light").await;
    page.look(1280, 800, "dark").await;
    page.picture("list-dark").await;
    page.look(400, 800, "light").await;
    assert_eq!(page.eval(SIDEWAYS).await, false, "it scrolls sideways");
    page.picture("list-narrow").await;
    page.look(1280, 800, "light").await;

    // Filters: text, attribute, service, errors, least duration; in the address, so a reload keeps them.
    let all = "document.querySelectorAll('.trace').length";
    page.press("/").await;
    page.type_text("bank refused").await;
    page.until(&format!("{all} === 5")).await;
    // The old page fits as well, for a while.
    page.eval("window.isOld = true; location.reload()").await;
    page.until(&format!(
        "!window.isOld && document.getElementById('q').value === 'bank refused' && {all} === 5"
    ))
    .await;
    page.press("Escape").await;
    page.until(&format!("{all} === 162")).await;
    page.press("/").await;
    page.type_text("http.route=/evil").await;
    page.until(&format!("{all} === 1")).await;
    page.press("Escape").await;
    page.press("Escape").await;
    page.until(&format!("{all} === 162")).await;
    page.click("#errors").await;
    page.until(&format!(
        "{all} === 6 && document.querySelectorAll('.trace.bad').length === 6"
    ))
    .await;
    page.click("#errors").await;
    page.until(&format!("{all} === 162")).await;
    page.eval("(() => { const s = document.getElementById('service'); s.value = 'mail'; s.dispatchEvent(new Event('change')); })()").await;
    page.until(&format!("{all} < 162 && {all} > 20")).await;
    page.press("Escape").await;
    page.until(&format!("{all} === 162")).await;
    page.click("#min").await;
    page.type_text("100").await;
    page.until(&format!("{all} < 50 && {all} > 0")).await;
    page.press("Escape").await;
    page.press("Escape").await;
    page.until(&format!("{all} === 162")).await;

    // An outlier of the plot leads to its trace.
    page.click("#plot .dot").await;
    page.until("location.pathname.startsWith('/traces/') && document.querySelector('.span')")
        .await;
    page.press("Escape").await;
    page.until("location.pathname === '/'").await;

    // The keyboard alone.
    page.press("ArrowDown").await;
    page.press("ArrowDown").await;
    page.press("Enter").await;
    page.until("location.pathname.startsWith('/traces/') && document.querySelector('.span')")
        .await;
    page.press("Escape").await;
    page.until("location.pathname === '/'").await;

    // A permalink: the waterfall, its critical path, events and details.
    page.open(&format!("{site}/traces/{failed:032x}")).await;
    page.until("document.querySelectorAll('.span').length >= 16")
        .await;
    assert!(
        page.eval("document.querySelectorAll('.seg').length")
            .await
            .as_u64()
            .unwrap()
            > 6
    );
    assert!(
        page.eval("document.querySelectorAll('.line .event').length")
            .await
            .as_u64()
            .unwrap()
            >= 3
    );
    page.click_on("[...document.querySelectorAll('.span')].find(e => e.textContent.includes('bank.example'))?.querySelector('.text')")
        .await;
    page.until("document.querySelector('#panel').textContent.includes('BankError')")
        .await;
    page.picture("trace-light").await;
    let address = page.eval("location.href").await;
    page.open(address.as_str().unwrap()).await;
    page.until("document.querySelector('#panel').textContent.includes('BankError')")
        .await;
    page.until(
        "document.querySelector('.span[aria-selected=true]').textContent.includes('bank.example')",
    )
    .await;
    page.look(1280, 800, "dark").await;
    page.picture("trace-dark").await;
    page.look(400, 800, "dark").await;
    assert_eq!(page.eval(SIDEWAYS).await, false, "it scrolls sideways");
    page.picture("trace-narrow").await;
    page.look(1280, 800, "light").await;

    // Folding, by keys.
    page.eval("(() => { const e = document.querySelector('.span'); e.click(); })()")
        .await;
    page.press("ArrowLeft").await;
    page.until("[...document.querySelectorAll('.span')].filter(e => !e.hidden).length === 1")
        .await;
    page.press("ArrowRight").await;
    page.until("[...document.querySelectorAll('.span')].filter(e => !e.hidden).length >= 16")
        .await;

    // What is copied can be read again.
    page.eval("navigator.clipboard.writeText = text => { window.copied = text; return Promise.resolve(); }").await;
    page.click("#copy-json").await;
    page.until("window.copied && JSON.parse(window.copied).spans.length >= 16")
        .await;
    page.click("#copy-md").await;
    page.until(
        "window.copied.startsWith('**`POST /checkout`**') && window.copied.includes('  - `count`')",
    )
    .await;

    // A thousand traces.
    let drafts = (0..1_000)
        .map(|i| small(1 << 100 | i, now(), &mut dice))
        .collect();
    send(otlp, drafts);
    page.open(&format!("{site}/")).await;
    page.until(&format!("{all} >= 1000")).await;
    // Painted, not only made: two frames after the list is there.
    let painted = page
        .eval("new Promise(done => { document.getElementById('list').remove(); const begin = performance.now(); load().then(() => requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now() - begin)))); })")
        .await;
    println!("1,000 traces are fetched and painted in {painted} ms");

    // A span that is open shows in the list, grows in its trace, and ends.
    let job = dispatcher::with_default(&dispatch, || info_span!("long job"));
    let line =
        "[...document.querySelectorAll('.trace')].find(e => e.textContent.includes('long job'))";
    page.until(&format!("{line}?.querySelector('.took .open')"))
        .await;
    page.eval(&format!("{line}.click()")).await;
    page.until("document.querySelector('.box.open')").await;
    page.eval("window.was = open_.duration_nanos").await;
    page.until("open_.duration_nanos > window.was + 1e9").await;
    page.picture("trace-open").await;

    // What a person holds is not drawn anew under the hand: a slow click arrives, marked text stays marked.
    page.eval("addEventListener('click', e => { window.clicked = e.target.className; })")
        .await;
    let name = page
        .middle_of("document.querySelector('.span .text')")
        .await;
    page.mouse("mousePressed", &name).await;
    page.until("later").await;
    page.mouse("mouseReleased", &name).await;
    page.until("window.clicked").await;
    assert_eq!(page.eval("window.clicked").await, "text");
    page.until("!later").await;
    page.eval("getSelection().selectAllChildren(document.querySelector('#panel h2'))")
        .await;
    page.until("later").await;
    assert_eq!(page.eval("getSelection().toString()").await, "long job");
    page.eval("getSelection().removeAllRanges()").await;
    page.until("!later").await;
    drop(job);
    page.until("document.querySelector('.box') && !document.querySelector('.box.open')")
        .await;

    // Log records: on the time line of their span, and in a place of their own where they have no trace.
    dispatcher::with_default(&dispatch, || {
        info_span!("paying").in_scope(|| warn!(card = EVIL, "card declined"));
        info!(port = 8080, "{EVIL}");
    });
    page.open(&format!("{site}/?q=paying")).await;
    page.until(&format!("{all} === 1")).await;
    page.click(".trace").await;
    page.until("document.querySelectorAll('.line .event.log.warn').length === 1")
        .await;
    // It is a span event too, and shows once.
    let marks = "document.querySelectorAll('.line .event').length";
    assert_eq!(page.eval(marks).await, 1, "the event shows once");
    page.until("document.getElementById('panel').textContent.includes('card declined')")
        .await;
    page.picture("trace-logs").await;
    page.click("#logs").await;
    page.until(
        "location.pathname === '/logs' && document.querySelectorAll('.logline').length === 1",
    )
    .await;
    page.until("document.querySelector('.logline .body').textContent.startsWith('<img')")
        .await;
    dispatcher::with_default(&dispatch, || info!("another one"));
    page.until("document.querySelectorAll('.logline').length === 2")
        .await;
    page.picture("logs").await;
    page.look(400, 800, "light").await;
    assert_eq!(page.eval(SIDEWAYS).await, false, "it scrolls sideways");
    page.look(1280, 800, "light").await;
    page.press("Escape").await;
    page.until("location.pathname === '/'").await;
    assert_eq!(
        page.eval("document.querySelectorAll('img, main script').length")
            .await,
        0
    );

    assert_eq!(page.eval("window.hacked ?? 0").await, 0);
    assert!(page.complaints.is_empty(), "{:#?}", page.complaints);
    guard.shutdown(Duration::from_secs(5)).await.unwrap();
}
