//! `Span`, `Span.Event`, `Span.Link` and `Status`, field by field.
