//! Whether a Topic Filter matches a Topic Name (MQTT 5.0 section 4.7).

/// Whether the valid `filter` matches the valid `name`. Wildcards at the start do not match names
/// that begin with `$` [MQTT-4.7.2-1]; `a/#` also matches `a`.
pub fn matches(filter: &str, name: &str) -> bool {
    if name.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut names = name.split('/');
    let mut filters = filter.split('/');
    loop {
        match (filters.next(), names.next()) {
            (Some("#"), _) | (None, None) => return true,
            (Some("+"), Some(_)) => {}
            (Some(want), Some(have)) if want == have => {}
            _ => return false,
        }
    }
}

/// Whether some Topic Name is matched by both valid filters.
pub fn overlap(one: &str, other: &str) -> bool {
    for (a, b) in [(one, other), (other, one)] {
        if a.starts_with('$') && b.starts_with(['+', '#']) {
            return false;
        }
    }
    let mut ones = one.split('/');
    let mut others = other.split('/');
    loop {
        match (ones.next(), others.next()) {
            (Some("#"), _) | (_, Some("#")) | (None, None) => return true,
            (Some("+"), Some(_)) | (Some(_), Some("+")) => {}
            (Some(a), Some(b)) if a == b => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn filters_overlap_where_a_name_is_matched_by_both() {
        for (one, other, expected) in [
            ("a/b", "a/b", true),
            ("a/b", "a/c", false),
            ("a/+", "+/b", true),
            ("a/+/c", "+/b", false),
            ("#", "a", true),
            ("a/#", "a", true),
            ("a/#", "a/b/c", true),
            ("a/#", "ab", false),
            ("a/+", "a", false),
            ("a/#", "+", true),
            ("+/x/#", "a/+/y", true),
            ("#", "$SYS/a", false),
            ("+/a", "$SYS/a", false),
            ("$SYS/#", "$SYS/+", true),
            ("$SYS/a", "$SYS/a", true),
        ] {
            assert_eq!(overlap(one, other), expected, "{one} {other}");
            assert_eq!(overlap(other, one), expected, "{other} {one}");
        }
    }

    /// Every name of up to three levels of these words.
    fn names() -> Vec<String> {
        let words = ["a", "b", "$c", "fresh"];
        let mut names: Vec<String> = words.map(str::to_owned).to_vec();
        for _ in 0..2 {
            let longer = names
                .iter()
                .flat_map(|name| words.map(|word| format!("{name}/{word}")));
            let mut all: Vec<String> = longer.collect();
            all.append(&mut names);
            names = all;
        }
        names
    }

    proptest! {
        #[test]
        fn overlapping_is_what_looking_at_every_name_says(
            one in "(a|b|\\$c|\\+)(/(a|b|\\$c|\\+)){0,1}(/#)?|#",
            other in "(a|b|\\$c|\\+)(/(a|b|\\$c|\\+)){0,1}(/#)?|#",
        ) {
            let both = |name: &String| matches(&one, name) && matches(&other, name);
            prop_assert_eq!(overlap(&one, &other), names().iter().any(both));
        }
    }

    #[test]
    fn mqtt_4_7_2_1_the_examples_of_section_4_7() {
        for (filter, name, expected) in [
            ("sport/tennis/player1/#", "sport/tennis/player1", true),
            (
                "sport/tennis/player1/#",
                "sport/tennis/player1/ranking",
                true,
            ),
            (
                "sport/tennis/player1/#",
                "sport/tennis/player1/score/wimbledon",
                true,
            ),
            ("sport/#", "sport", true),
            ("#", "a/b/c", true),
            ("sport/tennis/+", "sport/tennis/player1", true),
            ("sport/tennis/+", "sport/tennis/player1/ranking", false),
            ("sport/+", "sport", false),
            ("sport/+", "sport/", true),
            ("+/+", "/finance", true),
            ("/+", "/finance", true),
            ("+", "/finance", false),
            ("#", "$SYS/a", false),
            ("+/monitor/Clients", "$SYS/monitor/Clients", false),
            ("$SYS/#", "$SYS/a", true),
            ("$SYS/monitor/+", "$SYS/monitor/Clients", true),
            ("#", "é/x", true),
            ("a/+/#", "a", false),
            ("a/+/#", "a/", true),
            ("ACCOUNTS", "Accounts", false),
        ] {
            assert_eq!(matches(filter, name), expected, "{filter} {name}");
        }
    }
}
