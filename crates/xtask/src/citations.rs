//! `cargo xtask citations`: every MUST and MUST NOT of the specification is cited beside the code that
//! keeps it and by a test that proves it.
//!
//! The page writes an id behind the word, `MUST [frames-1]`. Code says `//= spec: frames-1` above the
//! lines that keep it; a test says `//= proof: frames-1` above its `#[test]`. Several ids stand side by
//! side with commas. The tests that docs/rules.md names must exist too.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::source::{files, is_test_file, read, rust_files, without_tests};

/// Where sources may cite. (This crate only talks about citations.)
const SOURCES: [&str; 2] = ["crates", "tests"];

/// A clause and who cites it, as `path:line`.
#[derive(Default)]
struct Clause {
    place: String,
    kept: Vec<String>,
    proven: Vec<String>,
}

/// Checks, and prints every clause with its places when asked to.
pub(crate) fn run(root: &Path, list: bool) -> Result<(), String> {
    let mut wrong = Vec::new();
    let mut clauses = BTreeMap::new();
    for page in files(&root.join("docs/spec"), "md")? {
        let name = page.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let name = if name == "README" { "spec" } else { &name };
        read_page(name, &read(&page)?, &mut clauses, &mut wrong);
    }
    let mut tests = BTreeSet::new();
    for folder in SOURCES {
        for path in rust_files(&root.join(folder))? {
            let shown = path.strip_prefix(root).unwrap_or(&path);
            if !shown.starts_with("crates/xtask") {
                let text = read(&path)?;
                read_source(shown, &text, &mut clauses, &mut wrong);
                tests.extend(functions(&text).map(str::to_owned));
            }
        }
    }
    for name in named_tests(&read(&root.join("docs/rules.md"))?) {
        if !tests.contains(name) {
            wrong.push(format!("docs/rules.md: no test {name}"));
        }
    }
    if list {
        for (id, clause) in &clauses {
            println!("{}\n  kept   {}", name(id), clause.kept.join(", "));
            println!("  proven {}", clause.proven.join(", "));
        }
    }
    for (id, clause) in &clauses {
        let missing = match (clause.kept.is_empty(), clause.proven.is_empty()) {
            (false, false) => continue,
            (true, true) => "neither code nor test",
            (true, false) => "no code",
            (false, true) => "no test",
        };
        wrong.push(format!("{:<14} {missing:<22} {}", name(id), clause.place));
    }
    if wrong.is_empty() {
        println!("{} clauses, all kept and proven", clauses.len());
        return Ok(());
    }
    Err(wrong.join("\n"))
}

/// The names of the functions of a source file.
fn functions(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .filter_map(|line| line.trim_start().strip_prefix("fn "))
        .filter_map(|rest| rest.split(['(', '<']).next())
}

/// The tests that the tables of a page name: `module::test`, in backticks.
fn named_tests(page: &str) -> impl Iterator<Item = &str> {
    let rows = page.lines().filter(|line| line.starts_with('|'));
    rows.flat_map(|row| row.split('`').skip(1).step_by(2))
        .filter_map(|code| code.rsplit_once("::"))
        .map(|p| p.1)
}

/// Page and number: sorts as it counts.
type Id = (String, u32);

fn name((page, number): &Id) -> String {
    format!("{page}-{number}")
}

fn parse(id: &str) -> Option<Id> {
    let (page, number) = id.rsplit_once('-')?;
    Some((page.to_owned(), number.parse().ok()?))
}

/// Adds the clauses of a page.
fn read_page(page: &str, text: &str, clauses: &mut BTreeMap<Id, Clause>, wrong: &mut Vec<String>) {
    let mut at = 0;
    while let Some(found) = text[at..].find("MUST") {
        at += found;
        let line = text[..at].matches('\n').count() + 1;
        let place = format!("docs/spec, {page}, line {line}");
        let mut rest = text[at + "MUST".len()..].trim_start();
        rest = rest.strip_prefix("NOT").unwrap_or(rest).trim_start();
        at += "MUST".len();
        // The sentence that says how the words are to be read.
        if text.lines().nth(line - 1).is_some_and(|l| l.starts_with("The key words ")) {
            continue;
        }
        let id = rest.strip_prefix('[').and_then(|r| r.split_once(']')).and_then(|(id, _)| parse(id));
        match id {
            Some(id) if id.0 == page => {
                let clause = Clause { place: place.clone(), ..Clause::default() };
                if clauses.insert(id.clone(), clause).is_some() {
                    wrong.push(format!("{place}: there is another {}", name(&id)));
                }
            }
            _ => wrong.push(format!("{place}: a MUST without an id: write MUST [{page}-N]")),
        }
    }
}

/// Adds the citations of a source file.
fn read_source(path: &Path, text: &str, clauses: &mut BTreeMap<Id, Clause>, wrong: &mut Vec<String>) {
    // A conformance suite is run by the tests of whatever must conform.
    let suite = path.components().any(|c| c.as_os_str() == "conformance");
    let lines: Vec<&str> = text.lines().collect();
    let code: Vec<usize> = match suite || is_test_file(path) {
        true => Vec::new(),
        false => without_tests(text).into_iter().map(|(number, _)| number).collect(),
    };
    for (i, line) in lines.iter().enumerate() {
        let Some(citation) = line.trim_start().strip_prefix("//= ") else { continue };
        let place = format!("{}:{}", path.display(), i + 1);
        let in_code = code.contains(&(i + 1));
        let (ids, proof) = match citation.split_once(": ") {
            Some(("spec", ids)) if in_code => (ids, false),
            Some(("spec", _)) => {
                wrong.push(format!("{place}: a test proves a clause, code keeps it"));
                continue;
            }
            Some(("proof", ids)) if !in_code && stands_above_a_test(&lines[i..], suite) => (ids, true),
            Some(("proof", _)) => {
                wrong.push(format!("{place}: a proof stands above a #[test]"));
                continue;
            }
            _ => {
                wrong.push(format!("{place}: neither `spec: ID` nor `proof: ID`"));
                continue;
            }
        };
        for id in ids.split(", ") {
            match parse(id).and_then(|id| clauses.get_mut(&id)) {
                Some(clause) if proof => clause.proven.push(place.clone()),
                Some(clause) => clause.kept.push(place.clone()),
                None => wrong.push(format!("{place}: no clause {id} in docs/spec")),
            }
        }
    }
}

/// Whether the first item of these lines is a test; in a suite, any function.
fn stands_above_a_test(lines: &[&str], suite: bool) -> bool {
    let head = |line: &&&str| line.trim_start().starts_with("//") || line.trim_start().starts_with("#[");
    let attributes = lines.iter().take_while(head).count();
    let is_function = lines.get(attributes).is_some_and(|line| line.contains("fn "));
    let is_test = |line: &str| matches!(line.trim(), "#[test]" | "#[tokio::test]");
    is_function && (suite || lines[..attributes].iter().any(|line| is_test(line)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(page: &str, sources: &[(&str, &str)]) -> (BTreeMap<Id, Clause>, Vec<String>) {
        let (mut clauses, mut wrong) = (BTreeMap::new(), Vec::new());
        read_page("frames", page, &mut clauses, &mut wrong);
        for (path, text) in sources {
            read_source(Path::new(path), text, &mut clauses, &mut wrong);
        }
        (clauses, wrong)
    }

    #[test]
    fn ids_are_read_across_lines_and_must_be_there() {
        let page = "The key words MUST and MUST NOT\nA MUST [frames-1] b. A MUST\nNOT [frames-2] c, MUST\n[frames-10].";
        let (clauses, wrong) = check(page, &[]);
        assert_eq!(clauses.keys().map(name).collect::<Vec<_>>(), ["frames-1", "frames-2", "frames-10"]);
        assert!(wrong.is_empty(), "{wrong:?}");
        assert_eq!(check("A MUST b, MUST [other-1], MUST [frames-1], MUST [frames-1]", &[]).1.len(), 3);
    }

    #[test]
    fn code_keeps_and_tests_prove() {
        let kept = "//= spec: frames-1, frames-2\nfn f() {}\n#[cfg(test)]\nmod tests {\n    //= proof: frames-1\n    #[test]\n    fn t() {\n    }\n}\n";
        let (clauses, wrong) = check("MUST [frames-1] MUST [frames-2]", &[("src/a.rs", kept)]);
        assert!(wrong.is_empty(), "{wrong:?}");
        let (one, two) = (&clauses[&("frames".into(), 1)], &clauses[&("frames".into(), 2)]);
        assert_eq!((one.kept.len(), one.proven.len()), (1, 1));
        assert_eq!((two.kept.len(), two.proven.len()), (1, 0));
    }

    #[test]
    fn pages_name_tests() {
        let page = "`a::b` is no row\n| `shape::one` `two` | x | `a::three` |\n";
        assert_eq!(named_tests(page).collect::<Vec<_>>(), ["one", "three"]);
        let found: Vec<_> = functions("fn one() {\n    fn two(x: u8)\n    pub fn three()").collect();
        assert_eq!(found, ["one", "two"]);
    }

    #[test]
    fn citations_in_the_wrong_place_are_refused() {
        for (path, text) in [
            ("tests/a.rs", "//= spec: frames-1\nfn f() {}"),
            ("src/a.rs", "//= proof: frames-1\n#[test]\nfn f() {}"),
            ("tests/a.rs", "//= proof: frames-1\nfn helper() {}"),
            ("tests/a.rs", "//= proof: frames-1\nstruct S;\n#[test]\nfn f() {}"),
            ("src/a.rs", "//= spec: frames-9\nfn f() {}"),
            ("src/a.rs", "//= sepc: frames-1\nfn f() {}"),
        ] {
            assert_eq!(check("MUST [frames-1]", &[(path, text)]).1.len(), 1, "{path}: {text}");
        }
        let suite = ("src/conformance/a.rs", "//= proof: frames-1\npub fn f() {}");
        assert!(check("MUST [frames-1]", &[suite]).1.is_empty());
    }
}
