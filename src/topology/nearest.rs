//! "Did you mean": the most similar of the words that would have been right.

/// Longer words, and more candidates, are not compared: that would take long, and nobody meant one.
const LONGEST: usize = 64;
const MOST: usize = 1000;

/// The candidate closest to `word`, if it is close enough to be what was meant.
///
/// Close is at most a third of the longer word, by edits of one letter and swaps of two
/// neighbours, or where one word begins with the other; among equally close candidates the first
/// in order wins.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let is_long = |word: &str| word.chars().nth(LONGEST).is_some();
    if is_long(word) {
        return None;
    }
    let word: Vec<char> = word.to_lowercase().chars().collect();
    let mut best: Option<(usize, &'a str)> = None;
    for candidate in candidates.into_iter().take(MOST) {
        if is_long(candidate) {
            continue;
        }
        let letters: Vec<char> = candidate.to_lowercase().chars().collect();
        let distance = distance(&word, &letters);
        let shorter = word.len().min(letters.len());
        let begins = shorter >= 3 && word.get(..shorter) == letters.get(..shorter);
        let close = begins || distance * 3 <= word.len().max(letters.len()).max(3);
        if close && best.is_none_or(|(least, name)| (distance, candidate) < (least, name)) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, name)| name)
}

/// Edits of one letter and swaps of neighbours that turn `a` into `b` (optimal string alignment).
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = Vec::with_capacity(b.len() + 1);
        row.push(i + 1);
        for (j, y) in b.iter().enumerate() {
            let at = |cells: &[usize], k: usize| cells.get(k).copied().unwrap_or(usize::MAX / 2);
            let mut cost = (at(&last, j) + usize::from(x != y))
                .min(at(&last, j + 1) + 1)
                .min(at(&row, j) + 1);
            let swapped = i > 0 && j > 0 && a.get(i - 1) == Some(y) && b.get(j - 1) == Some(x);
            if swapped {
                cost = cost.min(at(&before, j - 1) + 1);
            }
            row.push(cost);
        }
        before = last;
        last = row;
    }
    last.last().copied().unwrap_or(a.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_of_the_finger_find_their_word() {
        let keys = ["as-number", "listen-port", "hold-time"];
        assert_eq!(nearest("as-nubmer", keys), Some("as-number"));
        assert_eq!(nearest("asnumber", keys), Some("as-number"));
        assert_eq!(nearest("hold-tim", keys), Some("hold-time"));
        assert_eq!(nearest("Listen-Port", keys), Some("listen-port"));
        assert_eq!(nearest("logging", ["bgp", "log"]), Some("log"));
    }

    #[test]
    fn other_words_find_nothing() {
        assert_eq!(nearest("colour", ["as-number", "cidr"]), None);
        assert_eq!(nearest("", ["a"]), Some("a"));
        assert_eq!(nearest("xyz", []), None);
    }

    #[test]
    fn a_tie_goes_to_the_first_in_order() {
        assert_eq!(nearest("node-c", ["node-b", "node-a"]), Some("node-a"));
    }
}
