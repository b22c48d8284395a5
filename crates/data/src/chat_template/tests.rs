use std::time::{Duration, UNIX_EPOCH};

use super::*;

fn render(source: &str, messages: &[Value]) -> Result<RenderedChat, DataError> {
    ChatTemplate::new(source, Map::new())?.render(&ChatInput { messages, ..ChatInput::default() })
}

fn text(source: &str) -> String {
    render(source, &[]).unwrap().text
}

fn error(source: &str) -> DataError {
    render(source, &[json!({"role": "user", "content": "hi"})]).unwrap_err()
}

#[test]
fn errors_name_the_line() {
    for (source, line, part) in [
        ("a\n\n{% for x in %}{% endfor %}", 3, "syntax error"),
        ("{{ messages }}\n{{ 'a' | no_such_filter }}", 2, "no_such_filter"),
        ("\n\n\n{{ messages[0].content.shout() }}", 4, "shout"),
        ("\n{{ messages[9].content }}", 2, "undefined"),
        ("{% if true %}\nx", 2, "unexpected end of input"),
    ] {
        let error = error(source);
        let DataError::ChatTemplate { line: found, .. } = &error else { panic!("{error}") };
        assert_eq!(*found, Some(line), "{error}");
        let shown = error.to_string();
        assert!(shown.starts_with(&format!("the chat template, line {line}: ")), "{shown}");
        assert!(shown.contains(part) && shown.contains("\nhint: "), "{shown}");
    }
}

#[test]
fn an_exception_of_the_template_is_told_in_its_words() {
    let source = "{% for m in messages %}{{ raise_exception('Only ' ~ m.role ~ '!') }}{% endfor %}";
    let shown = error(source).to_string();
    assert_eq!(shown, "the model's chat template rejects these messages: Only user!");
    // Also from within a marked block and a macro.
    let source = "{% macro f() %}{% generation %}{{ raise_exception('No') }}{% endgeneration %}{% endmacro %}{{ f() }}";
    assert!(matches!(error(source), DataError::ChatRefused { message } if message == "No"));
}

#[test]
fn hostile_templates_run_out_of_fuel() {
    for source in [
        "{% for a in range(90000) %}{% for b in range(90000) %}{% endfor %}{% endfor %}",
        "{{ 'x' * 100000000000 }}",
        "{% set ns = namespace(t='xxxxxxxx') %}{% for a in range(90) %}{% set ns.t = ns.t ~ ns.t %}{% endfor %}{{ ns.t }}",
        "{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}",
        "{% for a in range(90000) %}{{ messages | tojson(indent=64) * 99 }}{% endfor %}",
        "{{ range(100000000000) | list }}",
    ] {
        assert!(matches!(error(source), DataError::ChatTemplate { .. }), "{source}");
    }
    let long = "x".repeat(LONGEST_SOURCE + 1);
    assert!(error(&long).to_string().contains("1048577 bytes"));
}

#[test]
fn lists_in_lists_do_not_overflow_the_stack() {
    let nest = |rest: &str| {
        format!(
            "{{% set n = namespace(x=[]) %}}{{% for i in range(90000) %}}{{% set n.x = [n.x] %}}{{% endfor %}}{rest}"
        )
    };
    assert_eq!(text(&nest("done")), "done");
    assert!(matches!(error(&nest("").replace("[n.x]", "[[[[[[[[[[[[n.x]]]]]]]]]]]]")), DataError::ChatTemplate { .. }));
    assert!(text(&nest("{{ n.x }}")).starts_with("[[[["));
    assert!(error(&nest("{{ n.x | tojson }}")).to_string().contains("nested too deep"));
}

#[test]
fn values_are_written_as_python_writes_them() {
    for (source, expected) in [
        ("{{ [1, 2.0, true, none, 'a\\'b', \"c\\\"d\", 'é\\n'] }}", r#"[1, 2.0, True, None, "a'b", 'c"d', 'é\n']"#),
        ("{{ {'a': (1,), 'b': {}} }}", "{'a': (1,), 'b': {}}"),
        (
            "{{ [1e16, 1e15, 0.0001, 0.00001, 1.5e-7, -0.0, 123456789.125] }}",
            "[1e+16, 1000000000000000.0, 0.0001, 1e-05, 1.5e-07, -0.0, 123456789.125]",
        ),
        ("{{ true | string + none | string }}", "TrueNone"),
        ("{{ missing }}{{ none }}", "None"),
        ("{{ {'k': '<é>\\u007f', 'l': []} | tojson }}", "{\"k\": \"<é>\u{7f}\", \"l\": []}"),
        ("{{ ['é😀'] | tojson(true) }}", r#"["\u00e9\ud83d\ude00"]"#),
        (
            "{{ {'b': 1, 'a': [1, 2]} | tojson(indent=1, sort_keys=true) }}",
            "{\n \"a\": [\n  1,\n  2\n ],\n \"b\": 1\n}",
        ),
        ("{{ [1, 2] | tojson(separators=('; ', '=')) }}", "[1; 2]"),
    ] {
        assert_eq!(text(source), expected, "{source}");
    }
}

#[test]
fn the_time_is_local_and_formatted_as_python_does() {
    let noon = Some(UNIX_EPOCH + Duration::from_hours(491_700)); // 2026-02-03 12:00 UTC
    let template = ChatTemplate::new("{{ strftime_now('%-d %b %Y %% %B') }}", Map::new()).unwrap().at(noon);
    assert_eq!(template.render(&ChatInput::default()).unwrap().text, "3 Feb 2026 % February");
    let today = Local::now().format("%Y-%m").to_string();
    assert_eq!(text("{{ strftime_now('%Y-%m') }}"), today);
    assert!(error("{{ strftime_now('%Q') }}").to_string().contains("format"));
}

#[test]
fn what_the_model_said_is_marked_whatever_is_in_it() {
    let source = "{% for m in messages %}{% if m.role == 'assistant' %}{%- generation +%}\n{{ m.content }}{% endgeneration %}\
                  {% else %}{{ m.content }}{% endif %}{% endfor %}{% if false %}{% generation %}x{% endgeneration %}{% endif %}";
    let message = |role: &str, content: &str| json!({"role": role, "content": content});
    let messages = [message("user", "\u{FDD0}é"), message("assistant", "ja \u{FDD1}"), message("assistant", "")];
    let rendered = render(source, &messages).unwrap();
    let said: Vec<&str> = rendered.generated.iter().map(|span| &rendered.text[span.clone()]).collect();
    assert_eq!(rendered.text, "\u{FDD0}é\nja \u{FDD1}\n");
    assert_eq!(said, ["\nja \u{FDD1}", "\n"]);
}

#[test]
fn named_templates_are_chosen_by_what_is_given() {
    let both = [(DEFAULT, "plain"), (TOOL_USE, "tools")];
    let template = ChatTemplate::named(both, Map::new()).unwrap();
    let tools = [json!({"name": "f"})];
    let input = ChatInput { tools: Some(&tools), ..ChatInput::default() };
    assert_eq!(template.render(&input).unwrap().text, "tools");
    assert_eq!(template.render(&ChatInput::default()).unwrap().text, "plain");
    let template = ChatTemplate::named([("rag", "x")], Map::new()).unwrap();
    let shown = template.render(&ChatInput::default()).unwrap_err().to_string();
    assert!(shown.contains("\"default\", but rag"), "{shown}");
}
