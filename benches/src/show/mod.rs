//! A report for people: as a table on a terminal, as a page with plots, as a part of a document.

mod advice;
mod markdown;
mod page;
mod plots;
mod series;
mod style;
mod svg;
mod table;

pub use advice::{Advice, advise};
pub use markdown::{fill_in, markdown};
pub use page::{page, plots_of};
pub use table::{table, workloads};
