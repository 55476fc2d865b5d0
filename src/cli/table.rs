//! Tables: aligned columns on a terminal, lines with tabs elsewhere.
//!
//! Without a terminal, a row is a line with all columns, separated by tabs, and there is no header: for `cut` and
//! `awk`. Columns keep their place; new ones come last. On a narrow terminal, cells that may wrap break between words
//! first; then columns are left out in the order that the table states; last, the cells of a row stand one below the
//! other. No word is broken.

use std::{cmp::Ordering, iter::Peekable, str::Chars};

use unicode_width::UnicodeWidthStr;

use super::{
    paint::{HEADING, Paint},
    visible,
};

/// Blanks between two columns.
const GAP: usize = 2;

/// The columns of a table.
#[derive(Debug)]
pub struct Columns {
    /// Headings. A heading that begins with `>` marks a column of numbers, which is aligned to the right.
    pub headings: &'static [&'static str],
    /// Columns whose cells may wrap.
    pub wrapped: &'static [&'static str],
    /// Columns to leave out on a narrow terminal, in this order.
    pub left_out: &'static [&'static str],
}

impl Columns {
    /// Columns that are always shown, on one line each.
    pub const fn new(headings: &'static [&'static str]) -> Self {
        Self { headings, wrapped: &[], left_out: &[] }
    }

    fn names(&self) -> impl Iterator<Item = &'static str> {
        self.headings.iter().map(|heading| heading.strip_prefix('>').unwrap_or(heading))
    }
}

/// The end of a command's help: the columns of its tables, and its examples.
pub fn help(examples: &str, tables: &[&Columns]) -> String {
    let mut text = String::new();
    for table in tables {
        let names: Vec<&str> = table.names().collect();
        text +=
            &format!("Columns, with tabs between them where standard output is no terminal: {}.\n", names.join(", "));
        if !table.left_out.is_empty() {
            text += &format!("A narrow terminal leaves out, in this order: {}.\n", table.left_out.join(", "));
        }
    }
    if text.is_empty() { examples.to_owned() } else { format!("{text}\n{examples}") }
}

/// Rows of cells under headings.
#[derive(Debug, Clone)]
pub struct Table {
    columns: Vec<Column>,
    left_out: &'static [&'static str],
    rows: Vec<Vec<String>>,
}

#[derive(Debug, Clone, Copy)]
struct Column {
    heading: &'static str,
    is_number: bool,
    wraps: bool,
}

/// A column that is shown, and how wide.
type Shown = (usize, usize);

impl Table {
    /// A table without rows.
    pub fn of(columns: &Columns) -> Self {
        let column = |heading: &&'static str| {
            let name = heading.strip_prefix('>').unwrap_or(heading);
            Column { heading: name, is_number: heading.starts_with('>'), wraps: columns.wrapped.contains(&name) }
        };
        Self { columns: columns.headings.iter().map(column).collect(), left_out: columns.left_out, rows: Vec::new() }
    }

    /// Like [`of`](Self::of), with columns that are always shown.
    #[cfg(test)]
    pub fn new<const N: usize>(headings: [&'static str; N]) -> Self {
        let column = |heading: &'static str| {
            let name = heading.strip_prefix('>').unwrap_or(heading);
            Column { heading: name, is_number: heading.starts_with('>'), wraps: false }
        };
        Self { columns: headings.map(column).to_vec(), left_out: &[], rows: Vec::new() }
    }

    /// Adds a row, one cell for each heading.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        debug_assert_eq!(N, self.columns.len());
        self.rows.push(cells.iter().map(|cell| visible::line(cell)).collect());
    }

    /// Whether the table has no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Formats the table for a terminal of `limit` columns. A longer word exceeds the limit.
    pub(super) fn aligned(&self, paint: Paint, limit: usize) -> String {
        let shown = self.shown(limit);
        if total(&shown.iter().map(|(_, width)| *width).collect::<Vec<_>>()) > limit {
            return self.records(paint, limit);
        }
        let heading = self.columns.iter().map(|column| column.heading.to_owned()).collect::<Vec<_>>();
        let mut out = String::new();
        for line in self.lines(&heading, &shown) {
            out += &(paint.text(HEADING, line) + "\n");
        }
        for row in &self.rows {
            self.lines(row, &shown).into_iter().for_each(|line| out += &(line + "\n"));
        }
        out
    }

    /// Formats each row as a line with tabs between the cells.
    pub(super) fn plain(&self) -> String {
        self.rows.iter().map(|row| row.join("\t") + "\n").collect()
    }

    /// Every row as lines `HEADING  cell`, with an empty line between two rows.
    fn records(&self, paint: Paint, limit: usize) -> String {
        let label = self.columns.iter().map(|column| column.heading.width()).max().unwrap_or(0);
        let record = |row: &Vec<String>| {
            let line = |(column, cell): (&Column, &String)| {
                let value = wrap(cell, limit.saturating_sub(label + GAP)).join(&format!("\n{:label$}  ", ""));
                format!("{}  {value}\n", paint.text(HEADING, format_args!("{:label$}", column.heading)))
            };
            self.columns.iter().zip(row).map(line).collect::<String>()
        };
        self.rows.iter().map(record).collect::<Vec<_>>().join("\n")
    }

    fn shown(&self, limit: usize) -> Vec<Shown> {
        let mut shown: Vec<usize> = (0..self.columns.len()).collect();
        let mut left_out = self.left_out.iter();
        loop {
            let natural: Vec<usize> = shown.iter().map(|&at| self.widest(at, |cell| cell.width())).collect();
            if total(&natural) <= limit {
                return shown.into_iter().zip(natural).collect();
            }
            let longest = |cell: &str| words(cell).map(|word| word.trim_end().width()).max().unwrap_or(0);
            let wrapped = |(&at, natural): (&usize, &usize)| {
                if self.columns[at].wraps { self.widest(at, longest) } else { *natural }
            };
            let mut widths: Vec<usize> = shown.iter().zip(&natural).map(wrapped).collect();
            let next = if total(&widths) > limit { left_out.next() } else { None };
            match next {
                Some(heading) => shown.retain(|&at| self.columns[at].heading != *heading),
                None => {
                    widen(&mut widths, &natural, limit);
                    return shown.into_iter().zip(widths).collect();
                }
            }
        }
    }

    fn widest(&self, at: usize, measure: impl Fn(&str) -> usize) -> usize {
        let cells = self.rows.iter().map(|row| measure(&row[at]));
        cells.max().unwrap_or(0).max(self.columns[at].heading.width())
    }

    fn lines(&self, cells: &[String], shown: &[Shown]) -> Vec<String> {
        let wrapped: Vec<Vec<String>> = shown.iter().map(|&(at, width)| wrap(&cells[at], width)).collect();
        let height = wrapped.iter().map(Vec::len).max().unwrap_or(0);
        let line = |index: usize| {
            let mut line = String::new();
            for (&(at, width), cell) in shown.iter().zip(&wrapped) {
                let text = cell.get(index).map_or("", String::as_str);
                let blanks = " ".repeat(width.saturating_sub(text.width()));
                line += &if self.columns[at].is_number { blanks + text } else { text.to_owned() + &blanks };
                line += &" ".repeat(GAP);
            }
            line.trim_end().to_owned()
        };
        (0..height).map(line).collect()
    }
}

fn total(widths: &[usize]) -> usize {
    widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1)
}

/// Distributes the rest of the line evenly among columns that are narrower than their cells.
fn widen(widths: &mut [usize], natural: &[usize], limit: usize) {
    let mut spare = limit.saturating_sub(total(widths));
    while spare > 0 {
        let before = spare;
        for (width, natural) in widths.iter_mut().zip(natural) {
            if *width < *natural && spare > 0 {
                *width += 1;
                spare -= 1;
            }
        }
        if spare == before {
            return;
        }
    }
}

/// Splits a text where it may wrap: between the items of a list, else between words.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let separator = if text.contains(", ") { ", " } else { " " };
    text.split_inclusive(separator)
}

/// Breaks a text into lines of at most `width` columns between words; a longer word has a line of its own.
pub(super) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in words(text) {
        let line = lines.last_mut().expect("it begins with one line");
        if !line.is_empty() && line.width() + word.trim_end().width() > width {
            line.truncate(line.trim_end().len());
            lines.push(word.to_owned());
        } else {
            line.push_str(word);
        }
    }
    let line = lines.last_mut().expect("it begins with one line");
    line.truncate(line.trim_end().len());
    lines
}

/// Compares texts so that numbers in them count as numbers: `s768` comes before `s1024`.
pub fn natural(left: &str, right: &str) -> Ordering {
    let (mut left, mut right) = (left.chars().peekable(), right.chars().peekable());
    loop {
        let order = match (left.peek().copied(), right.peek().copied()) {
            (None, None) => return Ordering::Equal,
            (Some(one), Some(other)) if one.is_ascii_digit() && other.is_ascii_digit() => {
                let (one, other) = (digits(&mut left), digits(&mut right));
                let value = |text: &str| text.trim_start_matches('0').to_owned();
                let (one_value, other_value) = (value(&one), value(&other));
                one_value
                    .len()
                    .cmp(&other_value.len())
                    .then(one_value.cmp(&other_value))
                    .then(one.len().cmp(&other.len()))
            }
            (one, other) => {
                left.next();
                right.next();
                one.cmp(&other)
            }
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

fn digits(text: &mut Peekable<Chars<'_>>) -> String {
    std::iter::from_fn(|| text.next_if(char::is_ascii_digit)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: Columns = Columns {
        headings: &["NAME", "KIND", "FEATURES", ">SIZE"],
        wrapped: &["FEATURES"],
        left_out: &["KIND", "SIZE"],
    };

    fn table() -> Table {
        let mut table = Table::of(&COLUMNS);
        table.row([
            "decoder-768".to_owned(),
            "mlpackage".to_owned(),
            "x float16[1,3], y float16[1,4]".to_owned(),
            "10 B".to_owned(),
        ]);
        table.row(["b".to_owned(), "files".to_owned(), "-".to_owned(), "1.0 kB".to_owned()]);
        table
    }

    #[test]
    fn tables_are_aligned_for_people_and_tabbed_for_programs() {
        let mut table = Table::new(["NAME", ">SIZE"]);
        table.row(["a".to_owned(), "10 B".to_owned()]);
        table.row(["long name".to_owned(), "1.0 kB".to_owned()]);
        assert_eq!(table.aligned(Paint::Plain, 80), "NAME         SIZE\na            10 B\nlong name  1.0 kB\n");
        assert_eq!(table.plain(), "a\t10 B\nlong name\t1.0 kB\n");
    }

    #[test]
    fn cells_wrap_between_words_before_columns_are_left_out() {
        let wide = "NAME         KIND       FEATURES                          SIZE\n\
            decoder-768  mlpackage  x float16[1,3], y float16[1,4]    10 B\n\
            b            files      -                               1.0 kB\n";
        assert_eq!(table().aligned(Paint::Plain, 62), wide);
        let wrapped = "NAME         KIND       FEATURES           SIZE\n\
            decoder-768  mlpackage  x float16[1,3],    10 B\n                        y float16[1,4]\n\
            b            files      -                1.0 kB\n";
        assert_eq!(table().aligned(Paint::Plain, 47), wrapped);
    }

    #[test]
    fn columns_are_left_out_in_the_stated_order_and_words_stay_whole() {
        let without_kind = "NAME         FEATURES           SIZE\ndecoder-768  x float16[1,3],    10 B\n             y \
             float16[1,4]\n\
            b            -                1.0 kB\n";
        assert_eq!(table().aligned(Paint::Plain, 36), without_kind);
        let narrow =
            "NAME         FEATURES\ndecoder-768  x float16[1,3],\n             y float16[1,4]\nb            -\n";
        assert_eq!(table().aligned(Paint::Plain, 30), narrow);
        let records = table().aligned(Paint::Plain, 24);
        let expected = "NAME      decoder-768\nKIND      mlpackage\nFEATURES  x float16[1,3],\n          y \
             float16[1,4]\nSIZE      10 B\n\n\
            NAME      b\nKIND      files\nFEATURES  -\nSIZE      1.0 kB\n";
        assert_eq!(records, expected, "nothing is left out of rows that stand one below the other");
    }

    #[test]
    fn strangers_cannot_make_rows_or_columns() {
        let mut table = Table::new(["NAME"]);
        table.row(["a\tb\nc\u{1b}[2J".to_owned()]);
        assert_eq!(table.plain(), "a\\tb\\nc\\u{1b}[2J\n");
    }

    #[test]
    fn numbers_in_names_sort_as_numbers() {
        let mut names = ["d-2048", "d-1024", "d-768", "d-768x1024", "d-007", "d-7", "e"];
        names.sort_by(|left, right| natural(left, right));
        assert_eq!(names, ["d-7", "d-007", "d-768", "d-768x1024", "d-1024", "d-2048", "e"]);
    }
}
