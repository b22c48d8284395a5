use serde_json::json;

use super::*;

fn parse(value: &Value) -> Result<Content, Problem> {
    super::parse(value).map(|line| line.content)
}

fn chat(content: Content) -> Vec<(String, String)> {
    let Content::Chat(chat) = content else { panic!("{content:?} is no conversation") };
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    chat.messages.iter().map(|message| (text(&message["role"]), text(&message["content"]))).collect()
}

fn pairs<const N: usize>(all: [(&str, &str); N]) -> Vec<(String, String)> {
    all.iter().map(|(role, content)| ((*role).to_owned(), (*content).to_owned())).collect()
}

#[test]
fn every_form_is_read() {
    let question = pairs([("user", "q"), ("assistant", "a")]);
    let parts = json!([{"type": "text", "text": "q"}]);
    for line in [
        json!({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}], "id": 7}),
        json!({"messages": [{"role": "user", "content": parts}, {"role": "assistant", "content": "a"}]}),
        json!({"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}),
        json!({"conversations": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}),
        json!({"instruction": "q", "input": "", "output": "a"}),
        json!({"instruction": "q", "output": "a"}),
        json!({"prompt": [{"role": "user", "content": "q"}], "completion": [{"role": "assistant", "content": "a"}]}),
    ] {
        assert_eq!(chat(parse(&line).unwrap()), question, "{line}");
    }
    let line = json!({"instruction": "Add.", "input": "1 1", "output": "2"});
    assert_eq!(chat(parse(&line).unwrap()), pairs([("user", "Add.\n\n1 1"), ("assistant", "2")]));
    let completion = Content::Completion { prompt: "q".into(), completion: "a".into() };
    assert_eq!(parse(&json!({"prompt": "q", "completion": "a", "text": "not this"})).unwrap(), completion);
    assert_eq!(parse(&json!({"text": "t"})).unwrap(), Content::Text("t".into()));
    let line = json!({"prompt": "q", "chosen": "a", "rejected": "b"});
    let other = Content::Completion { prompt: "q".into(), completion: "b".into() };
    let preference = Content::Preference { chosen: Box::new(completion), rejected: Box::new(other), shared: 1 };
    assert_eq!(parse(&line).unwrap(), preference);
    let call =
        json!({"messages": [{"role": "assistant", "content": null, "tool_calls": [{"x": 1}]}], "tools": [{"y": 2}]});
    let Content::Chat(called) = parse(&call).unwrap() else { panic!() };
    assert_eq!((&called.messages[0]["tool_calls"], called.tools), (&json!([{"x": 1}]), Some(vec![json!({"y": 2})])));
}

#[test]
fn what_is_wrong_is_named() {
    let shared = json!([{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]);
    for (line, expected, found) in [
        (json!(5), "an object with", "5"),
        (json!({}), "an object with", "an empty object"),
        (json!({"question": "q", "answer": "a"}), "an object with", "an object with \"question\", \"answer\""),
        (json!({"text": " \n"}), "some text", "the text \" \\n\""),
        (json!({"text": [1]}), "\"text\" to be a text", "a list of 1"),
        (json!({"messages": []}), "\"messages\" to be a list of messages", "an empty list"),
        (json!({"messages": "q"}), "\"messages\" to be a list of messages", "the text \"q\""),
        (json!({"messages": ["q"]}), "message 1 of \"messages\" to be an object", "the text \"q\""),
        (
            json!({"messages": [{"role": "bot", "content": "q"}]}),
            "the role of message 1 of \"messages\"",
            "the text \"bot\"",
        ),
        (json!({"messages": [{"content": "q"}]}), "the role of message 1", "nothing"),
        (json!({"messages": [{"role": "user"}]}), "the content of message 1 of \"messages\" to be a text", "nothing"),
        (
            json!({"messages": [{"role": "user", "content": [{"type": "image"}]}]}),
            "parts of the type text",
            "a list of 1",
        ),
        (json!({"messages": shared, "tools": 1}), "\"tools\" to be a list", "1"),
        (json!({"conversations": [{"from": "bot", "value": "q"}]}), "\"from\" of message 1", "the text \"bot\""),
        (json!({"conversations": [{"from": "human"}]}), "the content of message 1 of \"conversations\"", "null"),
        (json!({"conversations": 1}), "\"conversations\" to be a list", "1"),
        (json!({"instruction": "q"}), "\"output\" to be a text", "nothing"),
        (json!({"instruction": "q", "input": 1, "output": "a"}), "\"input\" to be a text", "1"),
        (json!({"prompt": "q", "completion": null}), "\"completion\" to be a text", "null"),
        (json!({"prompt": "q", "chosen": "a"}), "\"rejected\" to be a text or a list", "nothing"),
        (json!({"chosen": "a", "rejected": "b"}), "\"prompt\" to be a text or a list", "nothing"),
        (
            json!({"prompt": "q", "chosen": shared, "rejected": "b"}),
            "\"rejected\" to be a whole conversation",
            "the text \"b\"",
        ),
    ] {
        let problem = parse(&line).unwrap_err();
        assert!(problem.expected.contains(expected), "{line}: {problem:?}");
        assert_eq!(problem.found, found, "{line}");
    }
    let long = describe(Some(&json!("\u{1b}[31m".repeat(30))));
    assert!(long.starts_with("the text \"\\u{1b}[31m") && long.ends_with("…\"") && !long.contains('\u{1b}'), "{long}");
}
