//! Sources read as text: which lines are code, which of them ship, what they import.
//!
//! Comments and literals are blanked out; beyond braces and names it knows no Rust.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// A source file, and its text with comments and literals blanked out, line by line.
pub(crate) struct Source {
    pub(crate) path: String,
    pub(crate) text: String,
    pub(crate) code: Vec<String>,
    /// Whether a line belongs to tests.
    pub(crate) test: Vec<bool>,
}

impl Source {
    pub(crate) fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap();
        let path = relative(path);
        let code: Vec<String> = blank(&text).lines().map(str::to_owned).collect();
        let whole =
            path.starts_with("tests/") || path.ends_with("/tests.rs") || path.contains("/tests/");
        let mut test = vec![whole; code.len()];
        for (at, line) in code.iter().enumerate() {
            if line.contains("#[cfg(test)]") {
                for flag in &mut test[at..=end_of_item(&code, at)] {
                    *flag = true;
                }
            }
        }
        Self {
            path,
            text,
            code,
            test,
        }
    }

    /// `src/<floor>/...` or `src/<floor>.rs`.
    pub(crate) fn floor(&self) -> Option<&str> {
        let rest = self.path.strip_prefix("src/")?;
        Some(rest.split('/').next()?.trim_end_matches(".rs"))
    }

    /// Lines that ship, numbered from one.
    pub(crate) fn shipped(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.code.iter().zip(&self.test).enumerate();
        lines.filter_map(|(at, (line, test))| (!test).then_some((at + 1, line.as_str())))
    }

    pub(crate) fn is_in(&self, place: &str) -> bool {
        let rest = self.path.strip_prefix(place);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '.']))
    }
}

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub(crate) fn relative(path: &Path) -> String {
    path.strip_prefix(root())
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned()
}

/// Every file below `folder`, in order.
pub(crate) fn files(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy();
            // What is built or found is not ours, and a fuzzer changes its own while we look.
            let made = ["target", "corpus", "artifacts"].contains(&&*name);
            if path.is_dir() && !name.starts_with('.') && !made {
                folders.push(path);
            } else if path.is_file() {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// All Rust of the crate and of its tests, read once for all rules.
pub(crate) static SOURCES: LazyLock<Vec<Source>> = LazyLock::new(|| {
    let all = ["src", "tests"].into_iter().flat_map(files);
    let rust: Vec<_> = all
        .filter(|path| path.extension().is_some_and(|e| e == "rs"))
        .collect();
    assert!(
        rust.len() > 50,
        "the sources were not found below {}",
        root().display()
    );
    rust.iter().map(|path| Source::read(path)).collect()
});

/// Comments, strings and characters become blanks; line breaks stay.
pub(crate) fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = literal_end(bytes, at);
        for byte in &mut out[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end.max(at + 1);
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The end of the comment or literal that begins at `at`; `at` itself if none does.
pub(crate) fn literal_end(bytes: &[u8], at: usize) -> usize {
    let rest = &bytes[at..];
    let find = |from: usize, what: &[u8]| {
        let found = rest[from..]
            .windows(what.len())
            .position(|window| window == what);
        found.map_or(bytes.len(), |place| at + from + place + what.len())
    };
    let in_name = at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
    if rest.starts_with(b"//") {
        return find(0, b"\n") - 1;
    }
    if rest.starts_with(b"/*") {
        return find(2, b"*/");
    }
    if !in_name && (rest.starts_with(b"r\"") || rest.starts_with(b"r#") || rest.starts_with(b"br"))
    {
        let from = 1 + usize::from(rest[0] == b'b');
        let hashes = rest[from..]
            .iter()
            .take_while(|byte| **byte == b'#')
            .count();
        if rest.get(from + hashes) == Some(&b'"') {
            let mut close = vec![b'"'];
            close.extend(std::iter::repeat_n(b'#', hashes));
            return find(from + hashes + 1, &close);
        }
    }
    let quote = rest[0];
    let is_char = quote == b'\'' && (rest.get(1) == Some(&b'\\') || char_closes(rest));
    if quote == b'"' || is_char {
        let mut end = 1;
        while end < rest.len() && rest[end] != quote {
            end += 1 + usize::from(rest[end] == b'\\');
        }
        return (at + end + 1).min(bytes.len());
    }
    at
}

/// Whether `'x'` begins here, and not a lifetime.
pub(crate) fn char_closes(rest: &[u8]) -> bool {
    let text = String::from_utf8_lossy(&rest[1..rest.len().min(6)]).into_owned();
    text.chars().nth(1) == Some('\'')
}

/// The last line of the item that begins at line `from`: up to `;` or the closing brace.
pub(crate) fn end_of_item(code: &[String], from: usize) -> usize {
    let (mut curly, mut round) = (0_i32, 0_i32);
    for (at, line) in code.iter().enumerate().skip(from) {
        for letter in line.chars() {
            match letter {
                '{' => curly += 1,
                '(' | '[' => round += 1,
                ')' | ']' => round -= 1,
                '}' => {
                    curly -= 1;
                    if curly == 0 {
                        return at;
                    }
                }
                ';' if curly == 0 && round == 0 => return at,
                _ => {}
            }
        }
    }
    code.len() - 1
}

/// Whether `line` has `name` and not as a part of a longer name.
pub(crate) fn names(line: &str, name: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(name).any(|(at, _)| {
        let before = line[..at].chars().next_back().is_some_and(is_part);
        let after = line[at + name.len()..].chars().next().is_some_and(is_part);
        !before && !after
    })
}

/// The modules of this crate that a line, or a group over several lines, imports.
pub(crate) fn imports(source: &Source) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let lines: Vec<_> = source.shipped().collect();
    for (at, (number, line)) in lines.iter().enumerate() {
        for (place, _) in line.match_indices("crate::") {
            let tail = &line[place + "crate::".len()..];
            if let Some(group) = tail.strip_prefix('{') {
                let more = lines[at + 1..].iter().take(40).map(|(_, line)| *line);
                let text: String = std::iter::once(group)
                    .chain(more)
                    .collect::<Vec<_>>()
                    .join(" ");
                found.extend(heads(&text).into_iter().map(|name| (*number, name)));
            } else {
                found.push((*number, first_name(tail)));
            }
        }
    }
    found
}

/// The first names of a group's members: of `a::{b, c}, d}` a and d.
pub(crate) fn heads(group: &str) -> Vec<String> {
    let mut depth = 0;
    let mut found = Vec::new();
    let mut member = String::new();
    for letter in group.chars() {
        match letter {
            '}' if depth == 0 => break,
            ',' if depth == 0 => found.push(first_name(&std::mem::take(&mut member))),
            '{' => depth += 1,
            '}' => depth -= 1,
            _ if depth == 0 => member.push(letter),
            _ => {}
        }
    }
    found.push(first_name(&member));
    found.retain(|name| !name.is_empty());
    found
}

pub(crate) fn first_name(text: &str) -> String {
    let letters = text.trim_start().chars();
    letters
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect()
}
