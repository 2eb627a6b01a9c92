//! Mistakes in documents that people write, each with its place.
//!
//! In: findings of `site`. Out: the same findings sorted by place, for a person (`check`), a program (`--json`) or a forge (SARIF).
//! Invariant: a document is read to its end; one mistake never hides another; a secret is never shown.

pub mod codes;
pub mod sarif;
mod secret;

/// Where in a document: 1-based line and column (in characters), and the byte range of the text that is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The document as the person named it.
    pub file: String,
    /// Line, from 1; 0 when the whole file is meant.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Byte range in the document.
    pub span: (usize, usize),
}

/// How bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The documents cannot be used.
    Error,
    /// Legal and suspicious.
    Warning,
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Where.
    pub place: Place,
    /// How bad.
    pub severity: Severity,
    /// A stable kebab-case code, `unknown-profile`.
    pub code: &'static str,
    /// What is wrong, with the offending text.
    pub message: String,
    /// What to write instead (nearest known name, allowed values), when we know more than [`codes`] tells of the code.
    pub help: Option<String>,
}

impl Severity {
    /// `error` or `warning`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

impl Diagnostic {
    /// What to do about it: [`Diagnostic::help`], or else what the code's row says.
    pub fn remedy(&self) -> Option<&str> {
        self.help.as_deref().or_else(|| codes::find(self.code).map(|code| code.remedy))
    }

    /// Where the reference tells about it; `None` for a code without a row.
    pub fn reference(&self) -> Option<String> {
        codes::find(self.code).map(|code| codes::link(code.name))
    }
}

/// All mistakes found so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl Diagnostics {
    /// Adds an error.
    pub fn error(
        &mut self,
        place: &Place,
        code: &'static str,
        message: impl Into<String>,
        help: Option<String>,
    ) {
        self.0.push(Diagnostic {
            place: place.clone(),
            severity: Severity::Error,
            code,
            message: message.into(),
            help,
        });
    }

    /// Adds a warning.
    pub fn warning(
        &mut self,
        place: &Place,
        code: &'static str,
        message: impl Into<String>,
        help: Option<String>,
    ) {
        let severity = Severity::Warning;
        self.0.push(Diagnostic { place: place.clone(), severity, code, message: message.into(), help });
    }

    /// How many errors.
    pub fn errors(&self) -> usize {
        self.0.iter().filter(|found| found.severity == Severity::Error).count()
    }
}

/// The report for a person: each finding with its place, the line, the spot marked, and the help; then the sums.
pub fn render(found: &Diagnostics, texts: &[(String, String)]) -> String {
    let mut out = String::new();
    for finding in &found.0 {
        out += &format!("{}[{}]: {}\n", finding.severity.word(), finding.code, finding.message);
        let place = &finding.place;
        if place.line > 0 {
            out += &format!(" --> {}:{}:{}\n", place.file, place.line, place.column);
            let text = texts.iter().find(|(name, _)| *name == place.file).map(|(_, text)| text);
            if let Some(line) = text.and_then(|text| text.lines().nth(place.line - 1)) {
                out += &marked(&secret::blotted(line), place);
            }
        } else if !place.file.is_empty() {
            out += &format!(" --> {}\n", place.file);
        }
        if let Some(help) = finding.remedy() {
            out += &format!("  help: {help}\n");
        }
        if let Some(link) = finding.reference() {
            out += &format!("   see: {link}\n");
        }
        out += "\n";
    }
    let errors = found.errors();
    let warnings = found.0.len() - errors;
    let many = |count: usize| if count == 1 { "" } else { "s" };
    out + &format!("{errors} error{}, {warnings} warning{}\n", many(errors), many(warnings))
}

/// The line, cut to a screen's width, with the spot marked below it.
fn marked(line: &str, place: &Place) -> String {
    use unicode_width::UnicodeWidthStr;
    // A tab is as wide as a screen likes: a blank keeps the mark below its spot.
    let line = line.replace('\t', " ");
    let shown: String = line.chars().take(160).collect();
    let before: String = line.chars().take(place.column.saturating_sub(1)).collect();
    let rest = line.chars().count().saturating_sub(before.chars().count());
    let length = place.span.1.saturating_sub(place.span.0).clamp(1, rest.max(1)).min(80);
    let number = place.line;
    let gap = " ".repeat(before.width().min(160));
    format!("{number:>5} | {shown}\n      | {gap}{}\n", "^".repeat(length))
}

/// One JSON object per finding and line.
pub fn to_json(found: &Diagnostics) -> String {
    let line = |finding: &Diagnostic| {
        let place = &finding.place;
        let object = serde_json::json!({
            "severity": finding.severity.word(), "code": finding.code, "file": place.file, "line": place.line,
            "column": place.column, "message": finding.message, "help": finding.remedy(),
            "reference": finding.reference(),
        });
        format!("{object}\n")
    };
    found.0.iter().map(line).collect()
}
