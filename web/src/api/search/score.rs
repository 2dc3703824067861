//! How well a name matches a term: 1 where it starts with it, less the further
//! in or the more scattered it is, nothing where it does not match.

/// How names that do not contain a term may still match it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// Its characters come in order, with gaps.
    Subsequence,
    /// They are alike.
    JaroWinkler,
}

/// The terms of a search: a name matches if any of them does.
pub struct Filter {
    terms: Vec<Vec<char>>,
    algorithm: Algorithm,
    threshold: f64,
    case_sensitive: bool,
}

impl Filter {
    /// A filter; without terms every name matches.
    pub fn new(terms: Vec<String>, algorithm: Algorithm, threshold: f64, case_sensitive: bool) -> Filter {
        let fold = |term: String| if case_sensitive { term } else { term.to_lowercase() };
        let terms = terms.into_iter().map(|term| fold(term).chars().collect()).collect();
        Filter { terms, algorithm, threshold, case_sensitive }
    }

    /// The best score of any term; `None` where none matches.
    pub fn score(&self, name: &str) -> Option<f64> {
        if self.terms.is_empty() {
            return Some(1.0);
        }
        let text: Vec<char> = match self.case_sensitive {
            true => name.chars().collect(),
            false => name.to_lowercase().chars().collect(),
        };
        self.terms.iter().filter_map(|term| self.term_score(term, &text)).max_by(f64::total_cmp)
    }

    fn term_score(&self, term: &[char], text: &[char]) -> Option<f64> {
        if text.starts_with(term) {
            return Some(1.0);
        }
        match self.algorithm {
            Algorithm::Subsequence => {
                subsequence(term, text).filter(|&score| score > 0.0 && score >= self.threshold)
            }
            Algorithm::JaroWinkler => substring(term, text)
                .or_else(|| Some(jaro_winkler(term, text)).filter(|&s| s >= self.threshold)),
        }
    }
}

/// What is left of the score of a text that is not the term itself.
/// Source: Prometheus `util/strutil/subsequence.go`.
const NOT_EXACT: f64 = 0.999;

/// 1 at the start of the text, 0.1 at its end.
fn substring(term: &[char], text: &[char]) -> Option<f64> {
    let at = text.windows(term.len().max(1)).position(|window| window == term)?;
    let last = text.len() - term.len();
    Some(if last == 0 { 1.0 } else { 1.0 - 0.9 * at as f64 / last as f64 })
}

/// The best greedy way to find the term's characters in order: runs count by
/// the square of their length, each skipped character takes away its share of
/// the text, those behind the last run half of that. Only the term itself is 1.
fn subsequence(term: &[char], text: &[char]) -> Option<f64> {
    let (first, share) = (*term.first()?, 1.0 / text.len().max(1) as f64);
    let last_start = text.len().checked_sub(term.len())?;
    let mut best: Option<f64> = None;
    for start in (0..=last_start).filter(|&at| text[at] == first) {
        // Where the rest does not fit behind one start, it fits behind no later one.
        let Some(runs) = greedy_runs(term, text, start) else { break };
        let mut score = 0.0;
        let mut covered = 0;
        for (from, to) in runs {
            score -= (from - covered) as f64 * share;
            score += ((to - from) * (to - from)) as f64;
            covered = to;
        }
        score -= (text.len() - covered) as f64 * share * 0.5;
        best = Some(best.map_or(score, |best| best.max(score)));
    }
    best.map(|best| best.max(0.0) / (term.len() * term.len()) as f64 * NOT_EXACT)
}

/// The runs of text, as half-open ranges, that spell the term from `start` on,
/// each character taken where it comes first.
fn greedy_runs(term: &[char], text: &[char], start: usize) -> Option<Vec<(usize, usize)>> {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    let mut at = start;
    for &wanted in term {
        at += text.get(at..)?.iter().position(|&c| c == wanted)?;
        match runs.last_mut() {
            Some((_, to)) if *to == at => *to += 1,
            _ => runs.push((at, at + 1)),
        }
        at += 1;
    }
    Some(runs)
}

/// The Jaro–Winkler similarity: characters in common that are not far apart,
/// less for those out of order, more for a common start of up to four.
fn jaro_winkler(a: &[char], b: &[char]) -> f64 {
    let (short, long) = if a.len() <= b.len() { (a, b) } else { (b, a) };
    if short == long {
        return 1.0;
    }
    let reach = (long.len() / 2).saturating_sub(1);
    let mut taken = vec![false; long.len()];
    let mut matched_short = Vec::new();
    for (i, c) in short.iter().enumerate() {
        let window = i.saturating_sub(reach)..(i + reach + 1).min(long.len());
        if let Some(j) = window.into_iter().find(|&j| !taken[j] && long[j] == *c) {
            taken[j] = true;
            matched_short.push(*c);
        }
    }
    if matched_short.is_empty() {
        return 0.0;
    }
    let matched_long = long.iter().zip(&taken).filter(|(_, taken)| **taken).map(|(c, _)| c);
    let swapped = matched_short.iter().zip(matched_long).filter(|(a, b)| a != b).count() as f64 / 2.0;
    let matches = matched_short.len() as f64;
    // Reciprocals, for the last digit is to be upstream's.
    let (of_short, of_long) = (1.0 / short.len() as f64, 1.0 / long.len() as f64);
    let jaro = (matches * of_short + matches * of_long + (matches - swapped) / matches) / 3.0;
    let prefix = short.iter().zip(long).take(4).take_while(|(a, b)| a == b).count() as f64;
    jaro + prefix * 0.1 * (1.0 - jaro)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(term: &str, name: &str, algorithm: Algorithm) -> Option<f64> {
        Filter::new(vec![term.to_owned()], algorithm, 0.0, true).score(name)
    }

    fn near(have: Option<f64>, want: f64) -> bool {
        have.is_some_and(|have| (have - want).abs() < 1e-9)
    }

    #[test]
    fn starting_with_the_term_is_best() {
        for algorithm in [Algorithm::Subsequence, Algorithm::JaroWinkler] {
            assert_eq!(score("http", "http_requests_total", algorithm), Some(1.0));
        }
        assert_eq!(score("xyz", "http", Algorithm::Subsequence), None);
        assert_eq!(Filter::new(vec![], Algorithm::Subsequence, 1.0, true).score("a"), Some(1.0));
    }

    #[test]
    fn gaps_lower_a_subsequence() {
        // "a", one skipped, "c": 1 + 1 - 1/3, of 4 at most.
        assert!(near(
            score("bc", "abxc", Algorithm::Subsequence),
            (2.0 - 1.0 / 4.0 - 1.0 / 4.0) / 4.0 * 0.999
        ));
        assert!(score("hrt", "http_requests_total", Algorithm::Subsequence).is_some());
        assert_eq!(score("th", "http", Algorithm::Subsequence), None);
    }

    #[test]
    fn substrings_and_likeness_score_as_documented() {
        assert!(near(score("requests", "http_requests", Algorithm::JaroWinkler), 0.1));
        assert!(near(score("MARTHA", "MARHTA", Algorithm::JaroWinkler), 0.961_111_111_111));
        assert!(near(score("DWAYNE", "DUANE", Algorithm::JaroWinkler), 0.84));
    }

    #[test]
    fn case_counts_only_where_asked_for() {
        let loose = Filter::new(vec!["HTTP".to_owned()], Algorithm::Subsequence, 0.0, false);
        assert_eq!(loose.score("http_x"), Some(1.0));
        assert_eq!(score("HTTP", "http_x", Algorithm::Subsequence), None);
    }
}
