//! Trace contexts of others, as messages and Lambda hand them in.

/// Where in a trace a message was sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Remote {
    /// 32 hexadecimal digits, not all 0.
    pub(crate) trace_id: String,
    /// 16 hexadecimal digits, not all 0.
    pub(crate) span_id: String,
    /// Whether the sender's spans are recorded.
    pub(crate) sampled: bool,
}

impl Remote {
    /// W3C's `traceparent`. `None` where it is none; of a later version than 00 what version 00 has is read.
    ///
    /// Source: <https://www.w3.org/TR/trace-context/#traceparent-header>
    pub(crate) fn traceparent(text: &str) -> Option<Self> {
        let mut parts = text.trim().split('-');
        let (version, trace_id, span_id, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let whole = version != "00" || parts.next().is_none();
        let valid = hex(version, 2) && version != "ff" && hex(flags, 2) && whole;
        let sampled = u8::from_str_radix(flags, 16).ok()? & 1 == 1;
        Self::new(trace_id.to_owned(), span_id.to_owned(), sampled).filter(|_| valid)
    }

    /// X-Ray's header, as `AWSTraceHeader` and `_X_AMZN_TRACE_ID` have it:
    /// `Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1`. `None` without root or parent.
    ///
    /// Source: <https://docs.aws.amazon.com/xray/latest/devguide/xray-concepts.html#xray-concepts-tracingheader>
    pub(crate) fn xray(text: &str) -> Option<Self> {
        let part = |name: &str| {
            text.split(';')
                .find_map(|part| part.trim().split_once('=').filter(|(have, _)| *have == name))
                .map(|(_, value)| value)
        };
        let (epoch, unique) = part("Root")?.strip_prefix("1-")?.split_once('-')?;
        (epoch.len() == 8).then_some(())?;
        Self::new(format!("{epoch}{unique}"), part("Parent")?.to_owned(), part("Sampled") == Some("1"))
    }

    pub(crate) fn to_traceparent(&self) -> String {
        format!("00-{}-{}-{}", self.trace_id, self.span_id, if self.sampled { "01" } else { "00" })
    }

    fn new(trace_id: String, span_id: String, sampled: bool) -> Option<Self> {
        let set = |id: &str| id.bytes().any(|digit| digit != b'0');
        (hex(&trace_id, 32) && hex(&span_id, 16) && set(&trace_id) && set(&span_id)).then_some(Self {
            trace_id,
            span_id,
            sampled,
        })
    }
}

fn hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_is_read_and_what_is_none_is_not() {
        let (trace, span) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
        let read = Remote::traceparent(&format!("00-{trace}-{span}-01")).unwrap();
        assert_eq!((read.trace_id.as_str(), read.span_id.as_str(), read.sampled), (trace, span, true));
        assert_eq!(read.to_traceparent(), format!("00-{trace}-{span}-01"));
        assert!(!Remote::traceparent(&format!("00-{trace}-{span}-00")).unwrap().sampled);
        assert!(Remote::traceparent(&format!("01-{trace}-{span}-01-more")).is_some(), "a later version may have more");
        for bad in [
            String::new(),
            format!("00-{trace}-{span}"),
            format!("00-{trace}-{span}-01-more"),
            format!("ff-{trace}-{span}-01"),
            format!("00-{}-{span}-01", "0".repeat(32)),
            format!("00-{trace}-{}-01", "0".repeat(16)),
            format!("00-{}-{span}-01", trace.to_uppercase()),
            format!("00-{trace}-{span}-é1"),
        ] {
            assert_eq!(Remote::traceparent(&bad), None, "{bad}");
        }
    }

    #[test]
    fn x_rays_header_is_a_trace_id_in_two_parts() {
        let read =
            Remote::xray("Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1;Lineage=a:0")
                .unwrap();
        assert_eq!(read.to_traceparent(), "00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01");
        for bad in [
            "",
            "Root=1-5759e988-bd862e3fe1be46a994272793",
            "Root=1-57-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8",
        ] {
            assert_eq!(Remote::xray(bad), None, "{bad}");
        }
    }
}
