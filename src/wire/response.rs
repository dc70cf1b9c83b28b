//! What an endpoint answers: partial success, `google.rpc.Status`, `RetryInfo`.
