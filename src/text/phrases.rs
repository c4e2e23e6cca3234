//! What is found in answers, in languages with spaces between words and in those without.

/// How many times the same words in a row make an answer unacceptable.
const REPEATED: usize = 3;

/// Whether a letter is one of a word in a script with spaces between words.
fn of_word(letter: char) -> bool {
    letter.is_alphanumeric() && letter < '\u{2e80}'
}

/// The words of a text, and each character of a script without spaces, with the index of the byte after each.
pub fn units(text: &str) -> Vec<(usize, &str)> {
    let mut found: Vec<(usize, &str)> = Vec::new();
    let mut begun = None;
    for (index, letter) in text.char_indices().chain([(text.len(), ' ')]) {
        let word = of_word(letter);
        match begun {
            None if word => begun = Some(index),
            Some(start) if !word => {
                found.push((index, &text[start..index]));
                begun = None;
            }
            _ => (),
        }
        if !word && letter.is_alphanumeric() {
            let end = index + letter.len_utf8();
            found.push((end, &text[index..end]));
        }
    }
    found
}

/// Whether a text has a phrase, not as a part of a longer word. Both are in lower case.
pub fn has(text: &str, phrase: &str) -> bool {
    let joined = |left: Option<char>, right: Option<char>| left.is_some_and(of_word) && right.is_some_and(of_word);
    text.match_indices(phrase).any(|(start, found)| {
        let end = start + found.len();
        !joined(text[..start].chars().next_back(), found.chars().next())
            && !joined(found.chars().next_back(), text[end..].chars().next())
    })
}

/// Whether a text says the same three times in a row; a single word or character four times, since a dog says it three times.
pub fn repeats(text: &str) -> bool {
    let units = units(text);
    let units: Vec<&str> = units.iter().map(|(_, unit)| *unit).collect();
    (1..=8).any(|length: usize| {
        let times = REPEATED + usize::from(length == 1);
        let mut windows = units.windows(length * times);
        windows.any(|window| window.chunks(length).all(|chunk| window.starts_with(chunk)))
    })
}

/// A text's words in small letters, with a space between them: what remains of it if capitals and marks do not count.
pub fn words(text: &str) -> String {
    let text = text.to_lowercase();
    units(&text).into_iter().map(|(_, unit)| unit).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phrases_are_found_as_words() {
        assert!(has("it is 4.", "4") && !has("it is 14", "4") && !has("other", "the"));
        assert!(has("法国的首都是巴黎。", "巴黎") && has("c-a-t", "c-a-t"));
        assert!(repeats("the the the the") && !repeats("moo moo moo") && repeats("go away go away go away"));
        assert!(repeats("你好吗你好吗你好吗") && !repeats("汪汪汪"));
        assert_eq!(units("Go on, 你好").len(), 4);
        assert_eq!(words("Hi, good {time}!"), words("hi good {time}"));
    }
}
