"""The conversations that the template fixtures render: messages, tools, documents and further variables."""

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather at a place, now or in a few days.",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "Name of the city, e.g. \"Zürich\" or 'Saint-Malo'"},
                "days": {"type": "integer", "description": "0 is today", "default": 0},
                "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
            },
            "required": ["city"],
        },
    },
}
LIGHT = {
    "type": "function",
    "function": {
        "name": "set_light",
        "description": "Switches the lamp <on> & off.\nAnswers with the new state.",
        "parameters": {
            "type": "object",
            "properties": {
                "on": {"type": "boolean"},
                "level": {"type": "number", "description": "between 0 and 1", "default": 0.5},
                "colours": {"type": "array", "items": {"type": "string"}},
                "place": {
                    "type": "object",
                    "properties": {"floor": {"type": "integer"}, "room": {"type": ["string", "null"]}},
                },
            },
        },
        "return": {"type": "string"},
    },
}
NOW = {
    "type": "function",
    "function": {"name": "now", "description": "The time.", "parameters": {"type": "object", "properties": {}}},
}


def say(role, content, **more):
    return {"role": role, "content": content} | more


def call(identity, name, arguments):
    return {"id": identity, "type": "function", "function": {"name": name, "arguments": arguments}}


def answer(identity, name, content):
    return {"role": "tool", "tool_call_id": identity, "name": name, "content": content}


def text(*parts):
    return [{"type": "text", "text": part} for part in parts]


# Values that languages write differently in JSON.
NUMBERS = {
    "integers": [0, -1, 9007199254740993, 123456789012345678],
    "floats": [0.0, -0.0, 1.0, 0.1, 1.5e-7, 1e-05, 0.0001, 1e15, 1e16, 1.2345e22, 3.141592653589793],
    "others": [True, False, None, "", [], {}, [[]], [{}]],
    "text": "a\"b\\c/d\n\t\r\b\f\x01\x1f\x7f\u00e9\u2028\u2029\ufeff\U0001f642<a href='x'>&amp;</a>",
    "": {"é ü": {"\n": None}},
}

CONVERSATIONS = {
    "plain": {"messages": [say("user", "Who keeps the lighthouse?")]},
    "system": {"messages": [say("system", "You are a keeper. Be brief."), say("user", "Who are you?")]},
    "answered": {"messages": [say("user", "Hi"), say("assistant", "Hello! What can I do?")]},
    "turns": {
        "messages": [
            say("system", "Answer with one word."),
            say("user", "Colour of the sea?"),
            say("assistant", "Blue."),
            say("user", "And of the tower?"),
            say("assistant", "White."),
            say("user", "And of the lamp?"),
        ]
    },
    "tools": {"messages": [say("user", "How is the weather in Brest?")], "tools": [WEATHER, LIGHT]},
    "tools_system": {
        "messages": [say("system", "Use tools where they help."), say("user", "What time is it?")],
        "tools": [NOW],
    },
    "tool_call": {
        "messages": [
            say("user", "Weather in Brest?"),
            say("assistant", "", tool_calls=[call("abcdef123", "get_weather", {"city": "Brest", "days": 1})]),
            answer("abcdef123", "get_weather", '{"sky": "rain", "degrees": 11.5}'),
            say("assistant", "It will rain at 11.5 °C."),
            say("user", "Thanks!"),
        ],
        "tools": [WEATHER],
    },
    "tool_call_null": {
        "messages": [
            say("system", "You are a keeper."),
            say("user", "Switch the lamp on."),
            say("assistant", None, tool_calls=[call("lamp00001", "set_light", {"on": True, "level": 1.0})]),
            answer("lamp00001", "set_light", "on"),
        ],
        "tools": [LIGHT],
    },
    "two_calls": {
        "messages": [
            say("user", "Weather in Brest and in Nantes?"),
            say(
                "assistant",
                "I look both up.",
                tool_calls=[
                    call("brest0001", "get_weather", {"city": "Brest"}),
                    call("nantes001", "get_weather", {"city": "Nantes", "unit": "celsius"}),
                ],
            ),
            answer("brest0001", "get_weather", "rain"),
            answer("nantes001", "get_weather", "sun"),
        ],
        "tools": [WEATHER, NOW],
    },
    "arguments_as_text": {
        "messages": [
            say("user", "Time?"),
            {"role": "assistant", "tool_calls": [call("time00001", "now", '{"zone": "UTC", "exact": true}')]},
            answer("time00001", "now", "09:30"),
        ],
        "tools": [NOW],
    },
    "short_call_id": {
        "messages": [
            say("user", "Time?"),
            say("assistant", "", tool_calls=[call("1", "now", {})]),
            answer("1", "now", "09:30"),
        ],
        "tools": [NOW],
    },
    "numbers": {
        "messages": [
            say("user", "Note this down."),
            say("assistant", "", tool_calls=[call("note00001", "note", NUMBERS)]),
            answer("note00001", "note", "done"),
        ],
        "tools": [
            {"type": "function", "function": {"name": "note", "description": "é <b> 'q'", "parameters": NUMBERS}}
        ],
    },
    "parts": {
        "messages": [
            say("system", text("You are a keeper.")),
            say("user", text("What is this?", " And ", "that?")),
            say("assistant", text("A lamp.")),
            say("user", text("Thanks")),
        ]
    },
    "image": {"messages": [say("user", [{"type": "image"}, {"type": "text", "text": "What is on it? "}])]},
    "unicode": {
        "messages": [
            say("system", "Réponds en français ‒ « toujours »."),
            say("user", "灯台は どこ?\u3000🙂 👩‍🚀 e\u0301 \u200b\u202eabc\u202c ß İ ǆ"),
            say("assistant", "Здесь 🗼"),
            say("user", "नमस्ते مرحبا"),
        ]
    },
    "empty": {"messages": [say("system", ""), say("user", ""), say("assistant", ""), say("user", "")]},
    "spaces": {
        "messages": [
            say("system", "  \n A system with space around. \n\n"),
            say("user", "\n\n  Hello \t"),
            say("assistant", " \u00a0Yes\u3000\n"),
            say("user", "   \n\t  "),
        ]
    },
    "characters": {
        "messages": [
            say("system", "Mind \"quotes\", 'single ones', <tags> & entities: &amp; &lt;"),
            say("user", "{{ messages }} {% if x %} {# no #} \\n \\ \\\\ %s {0} $x `y` \x00\x07 </s> <|im_end|>"),
            say("assistant", '<script>alert("1")</script>\r\nline\rline'),
            say("user", '{"a": [1, 2]}'),
        ],
        "tools": [LIGHT],
    },
    "two_users": {"messages": [say("user", "One."), say("user", "Two.")]},
    "assistant_first": {"messages": [say("assistant", "Welcome."), say("user", "Thanks.")]},
    "system_later": {
        "messages": [say("user", "Hi"), say("assistant", "Hello"), say("system", "Be brief."), say("user", "Well?")]
    },
    "other_role": {"messages": [say("developer", "Be exact."), say("user", "What is 2 + 2?")]},
    "not_thinking": {
        "messages": [say("system", "Think."), say("user", "What is 2 + 2?")],
        "variables": {"enable_thinking": False},
    },
    "thinking": {
        "messages": [
            say("user", "What is 2 + 2?"),
            say("assistant", "<think>\nTwo and two.\n</think>\n\n4"),
            say("user", "And 3 + 3?"),
            say("assistant", "<think>\nThree and three.\n</think>\n\n6"),
        ],
        "variables": {"enable_thinking": True},
    },
    "reasoning": {
        "messages": [
            say("user", "Weather in Brest?"),
            say(
                "assistant",
                "One moment.",
                reasoning_content="\nI have to ask.\n",
                tool_calls=[call("abcdef123", "get_weather", {"city": "Brest"})],
            ),
            answer("abcdef123", "get_weather", "rain"),
            say("assistant", "Rain.", reasoning_content="Rain, it says."),
        ],
        "tools": [WEATHER],
    },
    "thinking_field": {
        "messages": [say("user", "2 + 2?"), say("assistant", "4", thinking="Easy."), say("user", "Sure?")],
        "variables": {"enable_thinking": False, "reasoning_effort": "high"},
    },
    "documents": {
        "messages": [say("user", "How high is the tower?")],
        "documents": [
            {"doc_id": 1, "title": "Towers", "text": "The tower is 33 metres high."},
            {"doc_id": 2, "title": "Lamps", "text": 'The lamp burns "all" night.'},
        ],
    },
    "variables": {
        "messages": [say("system", "You are a keeper."), say("user", "Search for the sea.")],
        "tools": [WEATHER],
        "variables": {
            "builtin_tools": ["browser", "python"],
            "date_string": "31 Dec 2025",
            "tools_in_user_message": False,
            "model_identity": "You are a lamp.",
            "controls": {"length": "short"},
        },
    },
}
