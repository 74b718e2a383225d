//! QR codes of join tokens: shown on terminals and in pictures, read by another hand, and good for joining.

use std::{
    fs,
    process::{Command, Stdio},
};

use crate::{
    devices::environment,
    run::{Machine, mode},
};

/// What another hand than the one that wrote it reads in a picture.
fn read(width: usize, height: usize, is_dark: impl Fn(usize, usize) -> bool) -> String {
    let shade = |x, y| if is_dark(x, y) { 0 } else { 255 };
    let mut image = rqrr::PreparedImage::prepare_from_greyscale(width, height, shade);
    image.detect_grids()[0].decode().unwrap().1
}

/// What a camera sees of a terminal: two modules, one above the other, in a character.
fn read_terminal(text: &str) -> String {
    let rows: Vec<Vec<char>> = text
        .lines()
        .filter_map(|line| line.split_once("\u{1b}[30;107m")?.1.split_once("\u{1b}[0m"))
        .map(|(row, _)| row.chars().collect())
        .collect();
    let dark = |x: usize, y: usize| match rows[y / 2][x] {
        '█' => true,
        '▀' => y.is_multiple_of(2),
        '▄' => !y.is_multiple_of(2),
        _ => false,
    };
    let (columns, height) = (rows[0].len(), rows.len() * 2);
    read(columns * 4, height * 4, |x, y| dark(x / 4, y / 4))
}

fn read_png(path: &std::path::Path) -> String {
    let mut reader = png::Decoder::new(std::io::BufReader::new(fs::File::open(path).unwrap())).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut pixels).unwrap();
    let width = info.width as usize;
    read(width, info.height as usize, |x, y| pixels[y * width + x] < 128)
}

/// On a terminal of its own, so many columns wide.
fn on_terminal(machine: &Machine, columns: u32, arguments: &str) -> String {
    let program = env!("CARGO_BIN_EXE_principal");
    let done = Command::new("script")
        .args([
            "-qc",
            &format!("stty rows 50 cols {columns}; {program} {arguments}; echo it ended with $?"),
            "/dev/null",
        ])
        .env("SIGNET_HOME", machine.home())
        .env_remove("COLUMNS")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    String::from_utf8(done.stdout).unwrap()
}

fn tokens(machine: &Machine) -> usize {
    let listed = machine.principal(&["token", "list", "--tenant", "acme", "-o", "json"]).ok().json();
    listed.as_array().unwrap().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_joins_with_what_the_code_on_a_terminal_says() {
    let (machine, server) = environment("").await;
    let create = "token create device --id d-1 --tenant acme --qr";
    let words: Vec<&str> = create.split(' ').collect();
    let piped = machine.principal(&words);
    assert!(
        piped.code == 2 && piped.err.contains("standard output is none") && piped.err.contains("--qr-file"),
        "{piped:?}"
    );
    let narrow = on_terminal(&machine, 40, create);
    assert!(narrow.contains("the terminal has 40 columns") && narrow.contains("it ended with 2"), "{narrow}");
    assert_eq!(tokens(&machine), 0, "nobody would have seen the secret");

    let shown = on_terminal(&machine, 80, create);
    assert!(shown.contains("only this machine can join") && shown.contains("it ended with 0"), "{shown}");
    let uri = read_terminal(&shown);
    let secret = uri.rsplit_once("token=").unwrap().1.to_owned();
    assert!(
        uri.starts_with("signet-join:v1?server=https://") && secret.starts_with("sgt_") && !shown.contains(&secret)
    );
    let join = ["enroll", "--join-uri-file", "-", "--out", "d-1", "-o", "json", "-vvv"];
    let joined = machine.principal_with(&join, &[], format!("{uri}\n").as_bytes()).ok();
    assert_eq!(joined.json()["spiffe_id"], "spiffe://acme.signet.internal/device/d-1");
    assert!(!format!("{joined:?}").contains(&secret));
    // Its folder is as any: provisioning finds it good, and adds the tenant's anchors.
    let found = machine.principal(&["device", "provision", "d-1", "--out", "d-1", "--tenant", "acme", "-o", "json"]);
    assert_eq!(found.ok().json()["result"], "completed");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_of_a_code_is_secret_and_leads_to_the_same_place() {
    let (machine, server) = environment("").await;
    let create = ["token", "create", "device", "--tenant", "acme", "--qr-file"];
    let create = |file: &str| machine.principal(&[&create[..], &[file]].concat());
    for refused in ["code.jpg", "code", "env"] {
        assert_eq!(create(refused).code, 2, "{refused}");
    }
    assert_eq!(tokens(&machine), 0);
    let made = create("code.png").ok();
    let file = machine.path("code.png");
    assert!(made.err.contains("the code is in code.png") && mode(&file) == 0o600, "{made:?}");
    let uri = read_png(&file);
    assert!(!format!("{made:?}").contains("sgt_"));
    create("code.svg").ok();
    assert!(fs::read_to_string(machine.path("code.svg")).unwrap().contains("<svg"));

    fs::write(machine.path("uri"), uri.replacen("ca_sha256=", "ca_sha256=0", 1)).unwrap();
    let enroll = ["enroll", "--join-uri-file", "uri", "--principal", "d-2", "--save-context", "d-2"];
    let damaged = machine.principal(&enroll);
    let told = "uri has no valid join URI: its part `ca_sha256` must be 64 hexadecimal digits";
    assert!(damaged.code == 2 && damaged.err.contains(told) && !damaged.err.contains("sgt_"), "{damaged:?}");
    let (before, after) = uri.split_once("ca_sha256=").unwrap();
    fs::write(machine.path("uri"), format!("{before}ca_sha256={}{}", "0".repeat(64), &after[64..])).unwrap();
    assert_eq!(machine.principal(&enroll).code, 4, "another server's anchor");
    fs::write(machine.path("uri"), uri).unwrap();
    machine.principal(&enroll).ok();
    let me = machine.principal(&["--context", "d-2", "whoami", "-o", "json"]).ok().json();
    assert_eq!(me["spiffe_id"], "spiffe://acme.signet.internal/device/d-2");
    assert_eq!(machine.principal(&[&enroll[..], &["--token-file", "uri"]].concat()).code, 2);

    // Without a public listener nobody could check the server.
    let contexts = machine.home().join("contexts.toml");
    let text = fs::read_to_string(&contexts).unwrap();
    assert!(text.contains("public_endpoint"), "{text}");
    let without: String =
        text.lines().filter(|line| !line.starts_with("public_endpoint")).flat_map(|l| [l, "\n"]).collect();
    fs::write(&contexts, without).unwrap();
    let nowhere = create("code.png");
    assert!(nowhere.code == 2 && nowhere.err.contains("--public-endpoint"), "{nowhere:?}");
    server.stop().await;
}
