//! Tables for people: the first column to the left, the others to the right.

/// Prints a title, a head and rows.
pub(crate) fn print(title: &str, head: &[&str], rows: &[Vec<String>]) {
    println!("\n{title}\n");
    let mut widths: Vec<usize> = head.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let head: Vec<String> = head.iter().map(|&cell| cell.to_owned()).collect();
    let rule: Vec<String> = widths.iter().map(|&width| "-".repeat(width)).collect();
    for row in [&head, &rule].into_iter().chain(rows) {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .enumerate()
            .map(|(column, (cell, &width))| match column {
                0 => format!("{cell:<width$}"),
                _ => format!("{cell:>width$}"),
            })
            .collect();
        println!("  {}", cells.join("  ").trim_end());
    }
    println!();
}

/// Whether a figure is within its target, in words.
pub(crate) fn verdict(value: f64, target: f64) -> String {
    let word = if value <= target { "reached" } else { "MISSED" };
    format!("target <= {target}: {word}")
}

/// The same for a figure that has to reach its target from below.
pub(crate) fn verdict_at_least(value: f64, target: f64) -> String {
    let word = if value >= target { "reached" } else { "MISSED" };
    format!("target >= {target}: {word}")
}
