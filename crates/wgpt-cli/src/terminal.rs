//! Progress bars on stderr, and the bars of a distribution.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar of `length` steps with the time left; hidden when `quiet` or when stderr is not a terminal.
pub fn bar(length: u64, quiet: bool) -> ProgressBar {
    let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr_with_hz(8) };
    let style = ProgressStyle::with_template("{bar:32.cyan/blue} {pos}/{len} {msg} {elapsed} (left {eta})")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::with_draw_target(Some(length), target).with_style(style)
}

/// A horizontal bar for a share between 0 and 1, `width` cells wide, by eighths of a cell.
pub fn share(share: f64, width: usize) -> String {
    let eighths = (share.clamp(0.0, 1.0) * width as f64 * 8.0).round() as usize;
    let part = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"][eighths % 8];
    format!("{}{part}", "█".repeat(eighths / 8))
}

/// A text from somewhere as a terminal may show it: control characters, which could move the cursor or do worse, are
/// replaced; line ends and tabs stay.
pub fn harmless(text: &str) -> String {
    let shown = |letter: char| if letter.is_control() && !"\n\t".contains(letter) { '\u{fffd}' } else { letter };
    text.replace("\r\n", "\n").chars().map(shown).collect()
}

/// The beginning of a text on one line of at most `width` characters.
pub fn beginning(text: &str, width: usize) -> String {
    let words: Vec<_> = text.split_whitespace().collect();
    let line = harmless(&words.join(" "));
    match line.char_indices().nth(width) {
        Some(_) => line.chars().take(width.saturating_sub(1)).chain(['…']).collect(),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::{beginning, harmless};

    #[test]
    fn texts_from_somewhere_do_no_harm() {
        assert_eq!(harmless("a\tb\r\n\x1b[2J\u{9b}c 床"), "a\tb\n\u{fffd}[2J\u{fffd}c 床");
        assert_eq!(beginning(" one\n two three", 8), "one two…");
        assert_eq!(beginning("床前明月", 4), "床前明月");
    }
}
