//! The file that lists a fleet: CSV, a device a line. All that is wrong in it is told before anything is changed.

use std::{collections::HashMap, fs, io::Read as _, path::Path};

use csv::{ReaderBuilder, StringRecord, Trim};
use signet_core::Role;

use super::device::Device;
use crate::failure::Failure;

/// The columns that there are.
const COLUMNS: [&str; 4] = ["id", "display_name", "roles", "groups"];
/// Between the values of one field.
const SEPARATOR: char = ';';
/// Some hundred thousand devices.
const MAX_BYTES: u64 = 16 * 1024 * 1024;
/// As many mistakes as are told at once.
const MOST_TOLD: usize = 20;

/// Reads the devices of the file at `path`; `-` is standard input.
pub(super) fn read(path: &Path) -> Result<Vec<Device>, Failure> {
    let mut bytes = Vec::new();
    let most = MAX_BYTES.saturating_add(1);
    let read = match path.to_str() {
        Some("-") => std::io::stdin().lock().take(most).read_to_end(&mut bytes),
        _ => fs::File::open(path).and_then(|file| file.take(most).read_to_end(&mut bytes)),
    };
    let size = read.map_err(|error| Failure::file(path, &error))?;
    if size as u64 > MAX_BYTES {
        return Err(Failure::usage(format!("{} is larger than {MAX_BYTES} bytes", path.display())).hint("divide it"));
    }
    parse(&bytes).map_err(|mistakes| {
        let more = mistakes.len().saturating_sub(MOST_TOLD);
        let told: Vec<&str> = mistakes.iter().take(MOST_TOLD).map(String::as_str).collect();
        let end = if more > 0 { format!("\nand {more} more") } else { String::new() };
        let name = if path == Path::new("-") { "standard input".into() } else { path.display().to_string() };
        let message = format!("{name}: {}{end}", told.join("\n"));
        Failure::usage(message)
            .hint("nothing was changed; the first line names the columns, lists have ; between their values")
    })
}

/// The devices, or all that is wrong with their list.
fn parse(bytes: &[u8]) -> Result<Vec<Device>, Vec<String>> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut reader = ReaderBuilder::new().trim(Trim::All).flexible(true).from_reader(bytes);
    let header = reader.headers().map_err(|error| vec![unreadable(&error)])?.clone();
    let columns = Columns::of(&header).map_err(|mistake| vec![format!("line 1: {mistake}")])?;
    let (mut devices, mut mistakes) = (Vec::new(), Vec::new());
    let mut lines: HashMap<String, u64> = HashMap::new();
    let mut record = StringRecord::new();
    loop {
        match reader.read_record(&mut record) {
            Ok(false) => break,
            Ok(true) => {}
            Err(error) => {
                mistakes.push(unreadable(&error));
                if !matches!(error.kind(), csv::ErrorKind::Utf8 { .. }) {
                    break;
                }
                continue;
            }
        }
        let line = record.position().map_or(0, |position| line_of(bytes, position));
        match columns.device(&record) {
            Ok(device) => match lines.insert(device.id.to_string(), line) {
                Some(first) => {
                    mistakes.push(format!("line {line}, column id: {} is in line {first} already", device.id))
                }
                None => devices.push(device),
            },
            Err(found) => mistakes.extend(found.into_iter().map(|mistake| format!("line {line}{mistake}"))),
        }
    }
    match () {
        () if !mistakes.is_empty() => Err(mistakes),
        () if devices.is_empty() => Err(vec!["it lists no device".into()]),
        () => Ok(devices),
    }
}

/// The reader skips blank lines after it has noted where it stands.
fn line_of(bytes: &[u8], position: &csv::Position) -> u64 {
    let at = usize::try_from(position.byte()).unwrap_or(usize::MAX);
    let rest = bytes.get(at..).unwrap_or_default().iter();
    let blank = rest.take_while(|b| matches!(b, b'\r' | b'\n')).filter(|b| **b == b'\n').count();
    position.line().saturating_add(blank as u64)
}

/// Which field is what.
struct Columns(Vec<&'static str>);

impl Columns {
    fn of(header: &StringRecord) -> Result<Self, String> {
        let known = COLUMNS.join(", ");
        let mut columns = Vec::new();
        for name in header {
            let Some(column) = COLUMNS.into_iter().find(|column| *column == name) else {
                return Err(format!("there is no column {name:?}; the first line names them: {known}"));
            };
            if columns.contains(&column) {
                return Err(format!("the column {name} is there twice"));
            }
            columns.push(column);
        }
        if columns.contains(&"id") { Ok(Self(columns)) } else { Err(format!("the column id is missing of {known}")) }
    }

    fn device(&self, record: &StringRecord) -> Result<Device, Vec<String>> {
        if record.len() != self.0.len() {
            return Err(vec![format!(": {} fields, where the first line names {}", record.len(), self.0.len())]);
        }
        let field = |name: &str| {
            let at = self.0.iter().position(|column| *column == name)?;
            record.get(at)
        };
        let mut mistakes = Vec::new();
        let id = field("id").unwrap_or_default();
        let parsed = id.parse().map_err(|error: signet_core::id::IdError| error.to_string());
        // It becomes a folder beside the log and the lock.
        let parsed = parsed.and_then(|parsed| match id.starts_with('.') || id == super::journal::FILE {
            true => Err(format!("{id:?} cannot be a folder's name here; provision it alone")),
            false => Ok(parsed),
        });
        let mut list = |name: &str| {
            let names = field(name)?.split(SEPARATOR).map(str::trim).filter(|name| !name.is_empty());
            let (good, bad): (Vec<_>, Vec<_>) = names.map(str::parse::<Role>).partition(Result::is_ok);
            mistakes.extend(bad.into_iter().filter_map(Result::err).map(|error| format!(", column {name}: {error}")));
            Some(good.into_iter().filter_map(Result::ok).collect())
        };
        let (roles, groups) = (list("roles"), list("groups"));
        match parsed {
            Ok(id) if mistakes.is_empty() => {
                Ok(Device { id, display_name: field("display_name").map(str::to_owned), roles, groups })
            }
            Ok(_) => Err(mistakes),
            Err(error) => {
                mistakes.insert(0, format!(", column id: {error}"));
                Err(mistakes)
            }
        }
    }
}

fn unreadable(error: &csv::Error) -> String {
    let line = error.position().map_or(1, csv::Position::line);
    match error.kind() {
        csv::ErrorKind::Utf8 { .. } => format!("line {line}: it is not text in UTF-8"),
        _ => format!("line {line}: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistakes(text: &str) -> Vec<String> {
        parse(text.as_bytes()).unwrap_err()
    }

    #[test]
    fn a_list_is_read_as_spreadsheets_write_it() {
        let text = "\u{feff}groups, id ,display_name\r\nsensors; north,s-1,\"Hall 1, left\"\r\n\r\n,s-2,\r\n";
        let devices = parse(text.as_bytes()).unwrap();
        let [first, second] = devices.as_slice() else { panic!("{devices:?}") };
        assert_eq!((first.id.as_str(), first.display_name.as_deref()), ("s-1", Some("Hall 1, left")));
        let groups: Vec<&str> = first.groups.iter().flatten().map(Role::as_str).collect();
        assert_eq!(
            (groups, &first.roles),
            (vec!["sensors", "north"], &None),
            "a column that is not there says nothing"
        );
        assert_eq!(second.groups, Some(Vec::new()), "an empty field says: none");
    }

    #[test]
    fn every_mistake_is_told_with_its_line_and_column() {
        let found = mistakes("id,groups\ns-1,a\nbad/id,B;c\ns-1,\ns-2\n\ns-4,x,y\n.x,\nprovision.log,\n\"s-5\n6\",\n");
        let begins = [
            "line 3, column id: ",
            "line 3, column groups: ",
            "line 4, column id: s-1 is in line 2 already",
            "line 5: 1 fields, where the first line names 2",
            "line 7: 3 fields",
            "line 8, column id: \".x\" cannot be a folder's name here",
            "line 9, column id: \"provision.log\" cannot",
            "line 10, column id: ",
        ];
        assert_eq!(found.len(), begins.len(), "{found:#?}");
        for (mistake, begin) in found.iter().zip(begins) {
            assert!(mistake.starts_with(begin), "{mistake}: {begin}");
        }
        for (text, told) in [
            ("", "line 1: the column id is missing"),
            ("id,colour\n", "line 1: there is no column \"colour\""),
            ("s-1\ns-2\n", "line 1: there is no column \"s-1\"; the first line names them: id, "),
            ("id,id\n", "line 1: the column id is there twice"),
            ("id\n", "it lists no device"),
        ] {
            assert!(mistakes(text).iter().any(|mistake| mistake.starts_with(told)), "{text:?}: {:?}", mistakes(text));
        }
        assert_eq!(parse(b"id\ns-1\n\xff\ns-2\n").unwrap_err(), ["line 3: it is not text in UTF-8"]);
    }
}
