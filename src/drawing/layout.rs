//! Lines of a drawing in columns: widths, continuation lines, colours.

use std::fmt;

/// The width, colours and columns of a drawing.
#[derive(Debug, Clone, Default)]
pub(crate) struct Layout {
    /// The greatest width of a line; `None`: no limit.
    pub(crate) columns: Option<usize>,
    pub(crate) color: bool,
}

/// One line of the drawing: a span, or an event of one.
pub(super) struct Line {
    /// The tree's branches before the name.
    pub(super) before: String,
    pub(super) name: String,
    /// The tree's branches on continuation lines.
    pub(super) below: String,
    pub(super) kind: String,
    pub(super) time: String,
    /// Its begin and its end within the whole trace, 0 to 1.
    pub(super) part: (f64, f64),
    pub(super) is_event: bool,
    pub(super) error: Option<String>,
    /// Further texts, each whole on its line.
    pub(super) rest: Vec<String>,
}

/// The widths of the columns.
struct Widths {
    /// Branches and name.
    name: usize,
    kind: usize,
    time: usize,
    /// Cells of a bar.
    bar: usize,
    /// All of a line.
    line: usize,
}

impl Layout {
    pub(super) fn write(&self, f: &mut fmt::Formatter<'_>, lines: &[Line]) -> fmt::Result {
        let widths = self.widths(lines);
        for line in lines {
            self.write_line(f, line, &widths)?;
        }
        Ok(())
    }

    /// The parts of a title, on as many lines as they need.
    pub(super) fn join(&self, parts: &[String]) -> String {
        let most = self.columns.map_or(usize::MAX, |c| c.max(FEWEST_COLUMNS));
        let mut lines: Vec<String> = Vec::new();
        for part in parts {
            match lines.last_mut() {
                Some(line) if chars(line) + chars(SEPARATOR) + chars(part) <= most => {
                    line.push_str(SEPARATOR);
                    line.push_str(part);
                }
                Some(_) => lines.push(cut(&format!("{CONTINUED}{part}"), most)),
                None => lines.push(cut(part, most)),
            }
        }
        lines.join("\n")
    }

    fn widths(&self, lines: &[Line]) -> Widths {
        let widest = |width: &dyn Fn(&Line) -> usize| lines.iter().map(width).max().unwrap_or(0);
        let mut widths = Widths {
            name: widest(&|l| chars(&l.before) + chars(&l.name)),
            kind: widest(&|l| chars(&l.kind)),
            time: widest(&|l| chars(&l.time)),
            bar: BAR,
            line: self.columns.map_or(usize::MAX, |c| c.max(FEWEST_COLUMNS)),
        };
        if widths.head() > widths.line {
            widths.bar = SMALL_BAR;
        }
        let excess = widths.head().saturating_sub(widths.line);
        widths.name = widths.name.saturating_sub(excess);
        widths
    }

    fn write_line(&self, f: &mut fmt::Formatter<'_>, line: &Line, widths: &Widths) -> fmt::Result {
        let room = widths.name.saturating_sub(chars(&line.before));
        let name = cut(&line.name, room);
        let space = " ".repeat(room.saturating_sub(chars(&name)));
        let bar_color = if line.error.is_some() { RED } else { CYAN };
        let before = cut(&line.before, widths.name);
        write!(f, "{}{name}{space}", self.paint(DIM, &before))?;
        if widths.kind > 0 {
            write!(f, "  {}", self.paint(DIM, &pad(&line.kind, widths.kind)))?;
        }
        write!(f, "  {:>1$}", line.time, widths.time)?;
        write!(f, "  ▕{}▏", self.paint(bar_color, &bar(line, widths.bar)))?;
        self.write_rest(f, line, widths)
    }

    /// The further texts: behind the bar if all fit there, else on lines below, in the tree.
    fn write_rest(&self, f: &mut fmt::Formatter<'_>, line: &Line, widths: &Widths) -> fmt::Result {
        let error = line.error.iter().map(|e| (e, RED));
        let pieces: Vec<_> = error.chain(line.rest.iter().map(|r| (r, PLAIN))).collect();
        let all: usize = pieces.iter().map(|(p, _)| GAP + chars(p)).sum();
        let mut at = widths.head();
        let indent = format!("{}  ", cut(&line.below, widths.line / 2));
        if at.saturating_add(all) > widths.line {
            // Begins full, so that the first text opens a line.
            at = widths.line;
        }
        for (piece, color) in pieces {
            if at + GAP + chars(piece) > widths.line {
                let margin = self.paint(DIM, &indent);
                let piece = cut(piece, widths.line - chars(&indent));
                write!(f, "\n{margin}{}", self.paint(color, &piece))?;
                at = chars(&indent) + chars(&piece);
            } else {
                write!(f, "  {}", self.paint(color, piece))?;
                at += GAP + chars(piece);
            }
        }
        writeln!(f)
    }

    fn paint(&self, color: &str, text: &str) -> String {
        let is_painted = self.color && !color.is_empty() && !text.trim().is_empty();
        match is_painted {
            true => format!("{color}{text}{RESET}"),
            false => text.to_owned(),
        }
    }
}

impl Widths {
    /// Everything up to the end of the bar.
    fn head(&self) -> usize {
        let kind = if self.kind > 0 { GAP + self.kind } else { 0 };
        self.name + kind + GAP + self.time + GAP + self.bar + 2
    }
}

/// The bar of a span; also the shortest span shows.
fn bar(line: &Line, cells: usize) -> String {
    let (start, end) = line.part;
    // From half a cell on, a cell is drawn.
    let halves = |share: f64| (share * 2.0 * cells as f64) as usize;
    let from = (halves(start) / 2).min(cells - 1);
    let to = match line.is_event {
        true => from + 1,
        false => halves(end).div_ceil(2).clamp(from + 1, cells),
    };
    let fill = if line.is_event { "•" } else { "█" };
    let (before, after) = (" ".repeat(from), " ".repeat(cells - to));
    format!("{before}{}{after}", fill.repeat(to - from))
}

fn chars(text: &str) -> usize {
    text.chars().count()
}

fn pad(text: &str, width: usize) -> String {
    format!("{text:width$}")
}

/// The text, cut after `most` characters.
fn cut(text: &str, most: usize) -> String {
    if chars(text) <= most {
        return text.to_owned();
    }
    let kept = text.chars().take(most.saturating_sub(1));
    kept.chain("…".chars().take(most)).collect()
}

/// Between the parts of a title.
const SEPARATOR: &str = " · ";
/// Before the parts of a title on further lines.
const CONTINUED: &str = "  ";

/// The space between two columns.
const GAP: usize = 2;

const BAR: usize = 20;
const SMALL_BAR: usize = 10;
const FEWEST_COLUMNS: usize = 40;

const PLAIN: &str = "";
const DIM: &str = "\u{1b}[2m";
const RED: &str = "\u{1b}[31m";
const CYAN: &str = "\u{1b}[36m";
const RESET: &str = "\u{1b}[0m";
