//! The status page in a real browser: every button of an alarm is clicked on a running demo, and does what it says.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::server::find;

/// A child that ends with its scope.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Node, a browser, and the folder of modules with playwright-core (`LIFELINE_NODE_MODULES`, or what `.ci/run` installs).
fn tools() -> Result<(PathBuf, PathBuf, PathBuf), &'static str> {
    let modules = std::env::var_os("LIFELINE_NODE_MODULES").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("target/ci/node/node_modules"),
        PathBuf::from,
    );
    let node = find("node").ok_or("node")?;
    let browser = find("chromium").or_else(|| find("chromium-browser")).ok_or("chromium")?;
    if !modules.join("playwright-core").is_dir() {
        return Err("playwright-core");
    }
    Ok((node, browser, modules))
}

#[test]
fn every_button_of_the_page_does_what_it_says_in_a_browser() {
    let (node, browser, modules) = match tools() {
        Ok(tools) => tools,
        Err(missing) => {
            assert!(
                std::env::var("LIFELINE_REQUIRE_SERVERS").is_err(),
                "{missing} is required and not installed"
            );
            println!("skipped: {missing} not installed");
            return;
        }
    };
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("journal");
    let story = folder.path().join("story.toml");
    // A pressure above yellow that a repair ends: high enough to be shelved, and long enough to be seen on a slow machine.
    std::fs::write(
        &story,
        "[[signal]]\npoint = \"regulator-3.p1\"\nunit = \"kPa\"\nsteps = [[\"0s\", 3.1], [\"20s\", 2.2]]\n",
    )
    .unwrap();
    let mut demo = Command::new(env!("CARGO_BIN_EXE_lifeline"));
    demo.args(["demo", "--for", "150s", "--script"])
        .arg(&story)
        .arg("--journal")
        .arg(&journal)
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    let child = demo.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut demo = Running(child);
    let mut lines = BufReader::new(demo.0.stdout.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    let address = first.split_whitespace().find(|word| word.starts_with("http://")).unwrap().to_owned();
    // The demo goes on only while somebody reads what it prints.
    std::thread::spawn(move || lines.for_each(drop));
    let token = std::fs::read_to_string(journal.join("token")).unwrap();
    let clicked = Command::new(node)
        .args(["tests/real/page.cjs", &address, token.trim()])
        .arg(folder.path())
        .arg("regulator-3-outlet-high")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("NODE_PATH", modules)
        .env("CHROMIUM", browser)
        .output()
        .unwrap();
    let said =
        String::from_utf8_lossy(&clicked.stdout).into_owned() + &String::from_utf8_lossy(&clicked.stderr);
    assert!(clicked.status.success() && said.contains("ok"), "{said}");
}
