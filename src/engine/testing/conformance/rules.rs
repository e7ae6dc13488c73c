//! How a conformance suite goes through its rules: each on a place of its own, and a broken one is named.

/// A rule of a contract: its name as a sentence, and what tries it.
pub(crate) type Rule<P> = (&'static str, fn(&mut P));

/// Tries every rule on a new place.
///
/// # Panics
/// When a rule is broken: `what` (the sink, say), the rule and what was seen.
pub(crate) fn try_each<P>(what: &str, rules: &[Rule<P>], new_place: &mut impl FnMut() -> P) {
    for (name, rule) in rules {
        let mut place = new_place();
        let run = std::panic::AssertUnwindSafe(|| rule(&mut place));
        if let Err(panic) = std::panic::catch_unwind(run) {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let seen = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without a text");
            panic!("{what} breaks the rule \"{name}\": {seen}");
        }
    }
}
