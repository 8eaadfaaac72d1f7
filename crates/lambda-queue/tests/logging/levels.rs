use crate::support::{env, logged};

mod wire {
    pub fn debug() {
        tracing::debug!("of the wire");
    }
}

/// One line at each level, and one of a module.
fn say() {
    tracing::error!("error");
    tracing::warn!("warn");
    tracing::info!("info");
    tracing::debug!("debug");
    tracing::trace!("trace");
    wire::debug();
}

#[test]
fn the_level_comes_from_the_environment_and_is_info_otherwise() {
    let all = ["error", "warn", "info", "debug", "trace", "of the wire"];
    for (variables, printed) in [
        (&[][..], &all[..3]),
        (&[("LOG_LEVEL", "")][..], &all[..3]),
        (&[("LOG_LEVEL", "error")][..], &all[..1]),
        (&[("LOG_LEVEL", "WARN")][..], &all[..2]),
        (&[("LOG_LEVEL", "trace")][..], &all[..]),
        (&[("LOG_LEVEL", "off")][..], &[]),
        (&[("LOG_LEVEL", "warn,logging::levels::wire=debug")][..], &["error", "warn", "of the wire"]),
        (&[("LOG_LEVEL", "trace, logging::levels::wire=off")][..], &all[..5]),
        (&[("LOG_LEVEL", "logging=off,logging::levels::wire=debug")][..], &["of the wire"]),
        (&[("AWS_LAMBDA_LOG_LEVEL", "FATAL")][..], &all[..1]),
        (&[("AWS_LAMBDA_LOG_LEVEL", "ERROR")][..], &all[..1]),
        (&[("AWS_LAMBDA_LOG_LEVEL", "TRACE")][..], &all[..]),
    ] {
        assert_eq!(logged(variables, say).messages(), printed, "{variables:?}");
    }
}

#[test]
fn nothing_more_verbose_is_written_than_lambda_lets_through_and_a_note_says_so() {
    let variables = [("LOG_LEVEL", "debug"), ("AWS_LAMBDA_LOG_LEVEL", "WARN")];
    assert_eq!(logged(&variables, say).messages(), ["error", "warn"]);
    assert_eq!(env(&variables).notes.len(), 1, "{:?}", env(&variables).notes);

    let variables = [("LOG_LEVEL", "warn"), ("AWS_LAMBDA_LOG_LEVEL", "DEBUG")];
    assert_eq!(logged(&variables, say).messages(), ["error", "warn"], "the function's own level holds inside Lambda's");
    assert!(env(&variables).notes.is_empty());
}

#[test]
fn a_wrong_value_is_noted_once_and_its_default_holds() {
    for (name, value) in [
        ("LOG_LEVEL", "verbose"),
        ("LOG_LEVEL", "info,my_crate=loud"),
        ("LOG_LEVEL", "=debug"),
        ("LOG_LEVEL", "[span{field=1}]=debug"),
        ("AWS_LAMBDA_LOG_LEVEL", "loud"),
        ("LOG_HELD", "many"),
        ("LOG_HELD_UNTIL", "later"),
        ("LOG_HELD_LINES", "-1"),
        ("LOG_HELD_BYTES", "64k"),
        ("LOG_SAMPLE_RATE", "1.5"),
        ("LOG_SAMPLE_RATE", "NaN"),
        ("LOG_SAMPLE_RATE", "few"),
    ] {
        let settings = env(&[(name, value)]);
        assert_eq!(settings.notes.len(), 1, "{name}={value}: {:?}", settings.notes);
        assert!(settings.notes[0].starts_with(name), "{:?}", settings.notes);
        assert_eq!((settings.held_lines, settings.held_bytes), (200, 65_536), "{name}={value}");
        assert!(settings.sample_rate.abs() < f64::EPSILON);
        assert_eq!(logged(&[(name, value)], say).messages(), ["error", "warn", "info"], "{name}={value}");
    }
    assert!(env(&[("LOG_LEVEL", "debug,h2=off"), ("LOG_SAMPLE_RATE", "0.25"), ("LOG_HELD", "off")]).notes.is_empty());
}
