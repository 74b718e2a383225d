//! Who imports whom inside of a crate: no circle between files, and the rooms of `app` stand on those before them.

use std::collections::{BTreeMap, BTreeSet};

use syn::{
    Attribute, Item, Meta, UseTree,
    visit::{self, Visit},
};

use crate::{files, name, read, root};

/// Crates, in which no file may import another in a circle, children and parents included.
const WITHOUT_CIRCLES: &[&str] = &[
    "crates/app",
    "crates/attest",
    "crates/client",
    "crates/core",
    "crates/dynamodb",
    "crates/enroll-http",
    "crates/jwt",
    "crates/kms",
    "crates/messages",
    "crates/mtls",
    "crates/policy",
    "crates/softkey",
    "crates/sqlite",
    "crates/x509",
    "lambdas/enroll",
    "lambdas/keymaker",
    "lambdas/rotate",
    "services/agent",
    "services/control-plane",
    "services/gateway",
    "services/mosquitto-plugin",
    "services/principal",
];

/// The rooms and single files of `crates/app`, each of which may import those before it. `lib` is below all of them.
const ROOMS: &[&str] = &[
    "call",
    "object_store",
    "paging",
    "sync",
    "task",
    "tenant_records",
    "throttle",
    "ledger",
    "reads",
    "audit",
    "authorities",
    "certificates",
    "tenants",
    "authorization",
    "principals",
    "enrollment",
    "tokens",
    "messages",
    "trust",
    "purge",
    "bootstrap",
    "restore",
];

type Module = Vec<String>;

/// What the files of one crate import of each other.
#[derive(Default)]
struct Imports {
    /// Without the root: what stands there everybody may use.
    of: BTreeMap<Module, BTreeSet<Module>>,
}

impl Imports {
    fn read(folder: &str) -> Self {
        let source = root().join(folder).join("src");
        let mut parsed: BTreeMap<Module, syn::File> = BTreeMap::new();
        for path in files(&[&format!("{folder}/src")], &[".rs"]) {
            let mut module: Module = path
                .strip_prefix(&source)
                .unwrap()
                .with_extension("")
                .iter()
                .map(|part| part.to_str().unwrap().into())
                .collect();
            if matches!(module.last().map(String::as_str), Some("mod" | "lib" | "main")) {
                module.pop();
            }
            if module.last().is_some_and(|last| last == "tests") {
                continue;
            }
            let file = syn::parse_file(&read(&path)).unwrap_or_else(|error| panic!("{}: {error}", name(&path)));
            parsed.insert(module, file);
        }
        // What a file hands on under its own path comes from another.
        let mut handed_on: BTreeMap<Module, Module> = BTreeMap::new();
        for (module, file) in &parsed {
            for (name, path) in names(file, true).into_iter().filter(|(name, _)| !name.is_empty()) {
                let mut found = Found { module, all: &parsed, paths: Vec::new() };
                found.add(&path);
                handed_on.extend(found.paths.pop().map(|path| ([&**module, &[name]].concat(), path)));
            }
        }
        let mut imports = Self::default();
        for (module, file) in &parsed {
            let mut found = Found { module, all: &parsed, paths: Vec::new() };
            found.visit_file(file);
            let home = |mut path: Module| {
                let from = |path: &Module| {
                    // A function may be called as a file is.
                    let names = (1..=path.len()).filter(|n| !parsed.contains_key(&path[..*n]));
                    names.into_iter().find_map(|n| Some([handed_on.get(&path[..n])?, &path[n..]].concat()))
                };
                while let Some(there) = from(&path) {
                    path = there;
                }
                while !path.is_empty() && !parsed.contains_key(&path) {
                    path.pop();
                }
                path
            };
            let used = found.paths.into_iter().map(home).filter(|used| !used.is_empty() && used != module).collect();
            imports.of.insert(module.clone(), used);
        }
        imports.of.remove(&Vec::new());
        imports
    }

    /// A circle, if there is one: each file imports the next, and the last the first.
    fn circle(&self) -> Option<Vec<String>> {
        let mut left = self.of.clone();
        loop {
            let free: Vec<Module> = left
                .iter()
                .filter(|(_, used)| used.iter().all(|used| !left.contains_key(used)))
                .map(|(m, _)| m.clone())
                .collect();
            if free.is_empty() {
                break;
            }
            left.retain(|module, _| !free.contains(module));
        }
        let mut walk = vec![left.keys().next()?.clone()];
        loop {
            let next = left[walk.last()?].iter().find(|used| left.contains_key(*used))?.clone();
            if let Some(start) = walk.iter().position(|seen| *seen == next) {
                return Some(walk[start..].iter().map(|module| module.join("::")).collect());
            }
            walk.push(next);
        }
    }
}

/// The names that a file's imports bring in, each with its path; `public`: those alone that are for others.
fn names(file: &syn::File, public: bool) -> Vec<(String, Module)> {
    let mut found = Vec::new();
    for item in &file.items {
        if let Item::Use(import) = item
            && (!public || !matches!(import.vis, syn::Visibility::Inherited))
        {
            flatten(&import.tree, &mut Vec::new(), &mut found);
        }
    }
    found
}

fn flatten(tree: &UseTree, before: &mut Module, found: &mut Vec<(String, Module)>) {
    match tree {
        UseTree::Path(path) => {
            before.push(path.ident.to_string());
            flatten(&path.tree, before, found);
            before.pop();
        }
        UseTree::Group(group) => group.items.iter().for_each(|item| flatten(item, before, found)),
        UseTree::Name(name) if name.ident == "self" => found.push((String::new(), before.clone())),
        UseTree::Name(name) => found.push((name.ident.to_string(), [&**before, &[name.ident.to_string()]].concat())),
        UseTree::Rename(name) => found.push((name.rename.to_string(), [&**before, &[name.ident.to_string()]].concat())),
        UseTree::Glob(_) => found.push((String::new(), before.clone())),
    }
}

/// Collects the paths within the crate that a file's code names, without those of its tests and in the arguments of
/// macros.
struct Found<'a> {
    module: &'a Module,
    all: &'a BTreeMap<Module, syn::File>,
    paths: Vec<Module>,
}

impl Found<'_> {
    fn add(&mut self, path: &[String]) {
        let above = path.iter().take_while(|part| *part == "super").count();
        match path.first().map(String::as_str) {
            Some("crate") => self.paths.push(path[1..].to_vec()),
            Some("self") => self.paths.push([&**self.module, &path[1..]].concat()),
            Some("super") if above <= self.module.len() => {
                let base = &self.module[..self.module.len() - above];
                self.paths.push([base, &path[above..]].concat());
            }
            // A child, by its bare name.
            Some(first) if self.all.contains_key(&[&**self.module, &[first.to_owned()]].concat()) => {
                self.paths.push([&**self.module, path].concat());
            }
            _ => {}
        }
    }
}

impl<'a> Visit<'a> for Found<'_> {
    fn visit_item_mod(&mut self, item: &'a syn::ItemMod) {
        if !is_test(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'a syn::ItemUse) {
        let mut found = Vec::new();
        flatten(&item.tree, &mut Vec::new(), &mut found);
        found.iter().for_each(|(_, path)| self.add(path));
    }

    fn visit_path(&mut self, path: &'a syn::Path) {
        let parts: Vec<String> = path.segments.iter().map(|part| part.ident.to_string()).collect();
        if parts.len() > 1 {
            self.add(&parts);
        }
        visit::visit_path(self, path);
    }
}

fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| matches!(&attribute.meta, Meta::List(list) if list.tokens.to_string() == "test"))
}

#[test]
fn files_import_each_other_in_no_circle() {
    for folder in WITHOUT_CIRCLES {
        assert_eq!(Imports::read(folder).circle(), None, "{folder}");
    }
}

#[test]
fn a_circle_is_found() {
    let module = |name: &str| vec![name.to_owned()];
    let imports = [("a", "b"), ("b", "c"), ("c", "b"), ("d", "a")];
    let of = imports.map(|(from, to)| (module(from), BTreeSet::from([module(to)]))).into();
    assert_eq!(Imports { of }.circle(), Some(vec!["b".into(), "c".into()]));
}

#[test]
fn rooms_stand_on_those_before_them() {
    let place = |module: &Module| {
        let room = module[0].as_str();
        ROOMS
            .iter()
            .position(|known| *known == room)
            .unwrap_or_else(|| panic!("give crates/app/src/{room} a place in ROOMS"))
    };
    let mut upward = Vec::new();
    for (module, used) in Imports::read("crates/app").of {
        upward.extend(
            used.iter().filter(|used| place(used) > place(&module)).map(|used| (module.join("::"), used.join("::"))),
        );
    }
    assert!(upward.is_empty(), "these import what stands above them: {upward:#?}");
}

/// ARCHITECTURE.md leads through the code by files: `app/…/x.rs` stands for `crates/app/src/…/x.rs`.
#[test]
fn the_files_that_the_map_names_exist() {
    let text = read(&root().join("ARCHITECTURE.md"));
    let named = text.split('`').skip(1).step_by(2).filter(|word| word.ends_with(".rs") && word.contains('/'));
    let named: Vec<&str> = named.collect();
    assert!(named.len() > 20, "the map names files in backquotes: {named:?}");
    let missing: Vec<&str> = named
        .into_iter()
        .filter(|word| {
            let (layer, file) = word.split_once('/').unwrap();
            let places =
                [format!("crates/{layer}/src/{file}"), format!("services/{layer}/src/{file}"), (*word).to_owned()];
            !places.iter().any(|place| root().join(place).exists())
        })
        .collect();
    assert!(missing.is_empty(), "ARCHITECTURE.md names files that are not there: {missing:?}");
}
