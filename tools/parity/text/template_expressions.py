"""Short templates, each rendered alone: methods, filters, tests and operators that chat templates use or could use."""

# One template a line. messages and the like are those of the conversation "turns".
LINES = r"""
[{{ '  Ab,cD,,é  '.strip() }}]
[{{ '  Ab '.lstrip() }}]
[{{ '  Ab '.rstrip() }}]
{{ 'xxaxbxx'.strip('x') }}
{{ 'abcba'.lstrip('ab') }}
{{ 'abcba'.rstrip('ab') }}
[{{ '\u00a0\u3000\x1c\x85 a\u200b'.strip() }}]
[{{ '\ufeffa '.strip() }}]
[{{ ' \n a \n ' | trim }}]
{{ '--a--' | trim('-') }}
{{ [{'type': 'text', 'text': "it's"}] | trim }}
{{ 'a,b,,c'.split(',') }}
{{ ' a  b '.split() }}
{{ ' a  b '.split(' ') }}
{{ 'a,b,c'.split(',', 1) }}
{{ 'a,b,c'.rsplit(',', 1) }}
{{ ''.split() }}
{{ ''.split(',') }}
{{ '<think>x</think>y'.split('</think>')[-1] }}
{{ 'a\nb\r\nc\n'.splitlines() }}
{{ 'k=v=w'.partition('=') }}
{{ 'hello'.startswith('he') }}
{{ 'hello'.endswith('lo') }}
{{ 'hello'.startswith(('x', 'h')) }}
{{ 'hello'.find('l') }} {{ 'hello'.find('z') }}
{{ 'hello'.count('l') }}
{{ 'hello'.index('l') }}
{{ 'hello'.index('z') }}
{{ 'aXbXc'.replace('X', '-') }}
{{ 'aXbXc'.replace('X', '-', 1) }}
{{ 'aaa' | replace('a', 'b', 2) }}
{{ 'straße éa ŉ'.upper() }}
{{ 'ÀÉ İ ΑΣ'.lower() }}
{{ "it's a they'd x-ray 3d".title() }}
{{ "it's a they'd x-ray 3d" | title }}
{{ 'hELLO wORLD'.capitalize() }}
{{ 'ß x' | capitalize }}
{{ 'aB'.swapcase() }}
{{ '12'.isdigit() }} {{ '²'.isdigit() }} {{ '½'.isnumeric() }} {{ 'a1'.isalnum() }} {{ 'ab'.isalpha() }} {{ ' '.isspace() }}
{{ 'AB'.isupper() }} {{ 'ab'.islower() }}
{{ '7'.zfill(3) }} [{{ 'a'.ljust(3) }}] [{{ 'a'.rjust(3, '.') }}] [{{ 'a'.center(4) }}]
{{ 'prefix-a'.removeprefix('prefix-') }} {{ 'a.txt'.removesuffix('.txt') }}
{{ ', '.join(['a', 'b']) }}
{{ ['a', 1, none] | join('|') }}
{{ '%s has %d of %.2f' % ('x', 3, 1.5) }}
{{ '%s-%s' | format('a', 1) }}
{{ '{0}-{name}'.format('a', name='b') }}
{{ 'abcdef'[0] }}{{ 'abcdef'[-1] }} {{ 'abcdef'[1:3] }} {{ 'abcdef'[:-2] }} {{ 'abcdef'[::-1] }} {{ 'abcdef'[10:] }}|
{{ 'héllo'[1] }} {{ '👍🏽'[0] }} {{ '👍🏽' | length }} {{ 'e\u0301' | length }}
{{ [1, 2, 3, 4][1:] }} {{ [1, 2, 3][-1] }} {{ [1, 2, 3][::-1] }} {{ [1, 2, 3, 4][1:-1] }} {{ [1, 2, 3, 4][::2] }} {{ [1, 2][5:] }}
{{ 'a' ~ 1 ~ none ~ true ~ 1.0 ~ [1, 'x'] }}
{{ 'ab' * 3 }} {{ [1] * 2 + [3] }}
{{ 'b' in 'abc' }} {{ 'x' not in ['x'] }} {{ 'k' in {'k': 1} }} {{ none in [none] }}
{{ 'a' | upper }} {{ 'A' | lower }} {{ 'abc' | first }} {{ 'abc' | last }} {{ 'abc' | reverse }} {{ [1, 2] | reverse | list }}
{{ [3, 1, 2] | sort }} {{ ['b', 'A', 'c'] | sort }} {{ ['b', 'A'] | sort(case_sensitive=true) }} {{ [1, 3, 2] | sort(reverse=true) }}
{{ [{'a': 2}, {'a': 1}] | sort(attribute='a') }}
{{ [1, 1, 2] | unique | list }} {{ ['a', 'A'] | unique | list }}
{{ [1, 2, 3] | sum }} {{ [1, 3, 2] | max }} {{ [3, 1] | min }} {{ [{'n': 1}, {'n': 2}] | sum(attribute='n') }}
{{ [1, 2, 3, 4, 5] | batch(2) | list }} {{ [1, 2, 3, 4, 5] | slice(2) | list }}
{{ messages | map(attribute='role') | join(',') }}
{{ messages | selectattr('role', 'equalto', 'user') | list | length }}
{{ messages | selectattr('role', '==', 'user') | map(attribute='content') | first }}
{{ messages | rejectattr('role', 'in', ['user', 'system']) | map(attribute='role') | list }}
{{ messages | selectattr('tool_calls', 'defined') | list | length }}
{{ messages | selectattr('content') | list | length }}
{{ messages | map(attribute='name', default='-') | join }}
{{ ['a', 'b'] | map('upper') | list }}
{{ [1, 2, 3, 4] | select('even') | list }} {{ [1, 2, 3] | select('gt', 1) | list }} {{ [0, 1, '', 'a'] | reject('string') | list }} {{ [0, 1, ''] | select | list }}
{% for role, group in messages | groupby('role') %}{{ role }}:{{ group | length }} {% endfor %}
{{ missing | default('d') }} {{ '' | default('d') }}| {{ '' | default('d', true) }} {{ none | default('d') }} {{ none | d('e', boolean=true) }} {{ {}.x | default('no') }}
{{ '3' | int + 1 }} {{ '3.7' | float }} {{ 'x' | int(9) }} {{ 3.7 | int }} {{ '3.7' | int }} {{ true | int }}
{{ 3.14159 | round(2) }} {{ 2.5 | round }} {{ 3.2 | round(method='ceil') }} {{ -3 | abs }} {{ 7 | round }}
{{ 5 | string + '5' }} {{ none | string }} {{ true | string }} {{ {'a': 'b'} | string }}
{{ '<a href="x">\'&' | escape }} {{ '<b>' | e }} {{ '<b>' | safe }}
{{ '<b>' | escape | upper }} {{ ('<b>' | escape) ~ '<i>' }} {{ ('<b>' | safe) + '<i>' }}
{{ 'a b  c d' | wordcount }} {{ 'a long sentence here' | truncate(10) }} {{ 'abc' | truncate(2, true, '') }}
{{ 'one\ntwo\n\nthree' | indent(2) }}|{{ 'x\ny' | indent(1, true) }}|{{ 'x\n\ny' | indent(1, blank=true) }}
{{ 'a b/é&' | urlencode }} {{ 'c' | center(5) }}| {{ 'a <b>c</b>' | striptags }}
{{ {'b': 1, 'a': 2} | items | list }} {{ {'b': 1}.keys() | list }} {{ {'b': 1}.values() | list }}
{{ {'a': 1}.get('a') }} {{ {'a': 1}.get('z') }} {{ {'a': 1}.get('z', 'other') }}
{{ {'a': {'b': [5]}}.a.b[0] }} {{ {'items': 3}['items'] }} {{ {'items': 3}.items() | list }} {{ {'a': 1}['a'] }}
{{ dict(a=1, b=2) }} {{ dict([('x', 1)]) }} {{ dict.fromkeys(['p', 'q'], 0) }}
{{ {'b': [1, 'é"<\'>&'], 'a': none, 'c': true} | tojson }}
{{ {'b': 1, 'a': 2} | tojson(sort_keys=true) }}
{{ [1, {'a': [], 'b': {}}] | tojson(indent=2) }}
{{ {'a': [1, 2]} | tojson(2) }}
{{ {'a': [1, 2]} | tojson(ensure_ascii=false, indent=4) }}
{{ [1, {'a': 2}] | tojson(separators=(',', ':')) }}
{{ 'é👍\x7f' | tojson(ensure_ascii=true) }} {{ 'é👍\x7f\u2028\x00\b\f\n\r\t/\\' | tojson }}
{{ "a'b" | tojson }} {{ [] | tojson(indent=2) }} {{ {} | tojson(indent=2) }} {{ (1, 2) | tojson }} {{ none | tojson }} {{ true | tojson }}
{{ [1.0, 1e16, 1e-5, 0.1, 123456789.5, 1e22, -0.0, 100000000000000000000] | tojson }}
{{ {1: 'a', none: 'b', true: 'c', 1.5: 'd'} | tojson }}
{{ messages | tojson }}
{{ messages[0] | tojson(indent=1) }}
{{ missing | tojson }}
{{ 1 + 2 * 3 - 4 }} {{ 7 / 2 }} {{ 6 / 2 }} {{ 7 // 2 }} {{ -7 // 2 }} {{ 7 % 3 }} {{ -7 % 3 }} {{ 2 ** 10 }} {{ 7.5 // 2 }}
{{ 1.5 + 1 }} {{ 0.1 + 0.2 }} {{ 1e3 }} {{ 1_000 }} {{ 10 ** 20 }} {{ 9223372036854775807 + 1 }} {{ 0x1F }} {{ 0b11 }} {{ 0o17 }}
{{ 3 > 2 > 1 }} {{ 1 < 3 < 2 }} {{ 1 == 1.0 }} {{ 'a' < 'b' }} {{ [1, 2] == [1, 2] }} {{ {'a': 1} == {'a': 1} }} {{ 1 == '1' }} {{ true == 1 }}
{{ not 0 }} {{ 1 and 'x' }} {{ '' or 'y' }} {{ 0 or none }} {{ 'yes' if 0 }}| {{ 'yes' if 1 else 'no' }} {{ not 'a' in 'b' }}
{{ -1 | abs }} {{ -(1 + 2) }} {{ +3 }} {{ 2 ** 3 ** 2 }} {{ -2 ** 2 }} {{ 1 if true else 2 + 3 }} {{ 'a' if false else 'b' ~ 'c' }}
{{ 1 ~ 2 + 3 }}
{{ 1 + 2 ~ 3 }}
{{ 'a' + 'b' ~ 2 * 3 }} {{ 'a' ~ 'b' | upper }} {{ ('a' ~ 'b') | upper }} {{ 2 + 3 | abs }}
{{ 2 + 3 | string | length }}
{{ '\t\\\'\"\u00e9\x41\101\q' }}
{{ "double \"x\" 'y'" }} {{ 'a' 'b' }}
{{ none is none }} {{ none is defined }} {{ none is mapping }} {{ none is iterable }} {{ none is string }} {{ none is number }}
{{ true is boolean }} {{ true is number }} {{ true is integer }} {{ 1 is integer }} {{ 1.0 is integer }} {{ 1.0 is float }} {{ 1 is true }} {{ true is true }} {{ false is false }}
{{ 'a' is string }} {{ 'a' is iterable }} {{ 'a' is sequence }} {{ 'a' is mapping }} {{ [] is sequence }} {{ [] is mapping }} {{ {} is mapping }} {{ {} is iterable }} {{ {} is sequence }} {{ (1,) is sequence }}
{{ range(2) is iterable }} {{ range(2) is sequence }} {{ range is callable }} {{ 'a'.upper is callable }} {{ 'a' is callable }}
{{ nothing is defined }} {{ nothing is undefined }} {{ messages[99] is defined }} {{ messages[0].nothing is defined }} {{ messages[0]['nothing'] is defined }}
{{ nothing is none }} {{ not nothing }} [{{ nothing }}] [{{ messages[0].nothing }}] {{ nothing | length }} {{ nothing | list }} {{ nothing == none }} {{ nothing == other_nothing }} {{ nothing is iterable }} {{ nothing is string }} {{ nothing is mapping }}
{% for x in nothing %}never{% else %}no items{% endfor %}
{{ nothing ~ 'a' }} {{ 'a' in [nothing] }} {{ [nothing] }} {{ nothing | default([]) | length }} {{ nothing | join(',') }} {{ nothing | upper }}|
{{ nothing.more }}
{{ nothing['more'] }}
{{ messages[0].nothing.more }}
{{ messages[0].nothing + 'a' }}
{{ 'a' + nothing }}
{{ nothing + 1 }}
{{ nothing() }}
{{ nothing < 1 }}
{{ nothing in 'abc' }}
{{ 'a' in nothing }}
{{ -nothing }}
{{ 'a' + 1 }}
{{ 'a' + none }}
{{ 'a' + ['b'] }}
{{ 1 + none }}
{{ 'a' < 1 }}
{{ 1 / 0 }}
{{ none.x }}
{{ none.x.y }}
{{ none | length }}
{{ none | items | list }}
{{ nothing | items | list }}
{{ 'a' | items | list }}
{% for x in none %}x{% endfor %}
{% for x in 5 %}x{% endfor %}
{{ [1, 2].x }}|{{ [1, 2][7] }}|{{ {}['x'] }}|{{ 'abc'[9] }}|
{{ 'abc'.nothing }}|
{{ messages.append(1) }}
{{ messages.pop() }}
{{ messages[0].update({'a': 1}) }}
{{ messages[0].__class__ }}
{{ ''.__class__.__mro__ }}
{{ messages[0].role.nothing() }}
{{ [3, 1].index(1) }} {{ [1, 1].count(1) }} {{ (1, 2).index(2) }}
{{ raise_exception('Stop: ' ~ messages[0].role ~ ' <&> "é"') }}
{{ raise_exception(1) }}
before{% if true %}{{ raise_exception('after text') }}{% endif %}
{{ 'x' | nofilter }}
{{ 'x' is notest }}
{% unknown %}
{{ 'open
{% if true %}no end
{{ 4 is even }} {{ 3 is odd }} {{ 9 is divisibleby 3 }} {{ 9 is divisibleby(2) }}
{{ 1 is eq 1 }} {{ 1 is equalto(1) }} {{ 1 is ne(2) }} {{ 1 is lt 2 }} {{ 2 is ge 2 }} {{ 2 is gt 1 }} {{ 1 is le 1 }} {{ 1 is in [1, 2] }} {{ 1 is not in [1] }}
{{ 'A' is upper }} {{ 'a' is lower }} {{ none is sameas none }} {{ 'trim' is filter }} {{ 'odd' is test }} {{ 1 is not none }} {{ 'a' is escaped }}
{{ none }} {{ true }} {{ false }} {{ 1.0 }} {{ 1e16 }} {{ 1e15 }} {{ 1e-5 }} {{ 0.0001 }} {{ 123456789.123 }} {{ -0.0 }} {{ 1e300 * 1e10 }}
{{ [] }} {{ {} }} {{ () }} {{ (1,) }} {{ (1, 2) }} {{ [none, true, 1.0, 'a', "b'c", 'd"e', "f'g\"h"] }} {{ {'a': 'x', 1: none} }}
{{ ['é', '\n', '\\', '\x00', '\u2028', '👍', '\x7f', '\u200b', '\u00a0', '\u00ad', '\ue000'] }}
{{ {'a': {'b': ['c']}}.items() | list }} {{ range(3) }} {{ range(3) | list }} {{ {'a': 1}.keys() }}
{{ messages[1:2] }}
{{ tools is defined }} {{ tools is none }} {{ documents is defined }} {{ documents is none }} {{ add_generation_prompt }} {{ bos_token }} {{ unk_token is defined }} {{ enable_thinking is defined }}
{{ strftime_now('%Y-%m-%d') }} {{ strftime_now('%d %b %Y') }} {{ strftime_now('%B %d, %Y') }} {{ strftime_now('%A %a %H:%M:%S %I %p %y %j %%') }}
{{ strftime_now('%-d %-m %e|%D|%F|%T|%R|%U|%w|%Z|%z|') }}
{{ messages[0].items() | map('first') | join(',') }} {{ messages[0].keys() | list }} {{ 'content' in messages[0] }} {{ messages[0].get('name', 'nameless') }} {{ messages[0] | length }}
{{ messages[-1].role }} {{ (messages | last).content }} {{ messages[0:1] | length }} {{ messages[::-1][0].role }} {{ messages | length - 1 }}
{% set ns = namespace(a=1, b='x') %}{% set ns.a = ns.a + 1 %}{{ ns.a }}{{ ns.b }}{{ ns.c }}|
{% set ns = namespace() %}{% set ns.x = [1] %}{% for i in [2, 3] %}{% set ns.x = ns.x + [i] %}{% endfor %}{{ ns.x }}
{% set ns = namespace(_x=1) %}{{ ns._x }}
{% set messages = messages[1:] %}{{ messages | length }}
{% set x = 'a' %}{% if true %}{% set x = 'b' %}{% endif %}{{ x }}{% for i in [1] %}{% set x = 'c' %}{% endfor %}{{ x }}
{% macro m(a, b=2, c=a) %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ m(1) }} {{ m(1, c=5) }} {{ m(a=3, b=4) }} [{{ m() }}]
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}
{% macro m() %}  x  {% endmacro %}[{{ m() }}] [{{ m() | trim }}] {{ m() == '  x  ' }} {{ m() | length }} {{ m() is string }} {{ (m() ~ 'é<') | tojson }}
{% macro outer() %}{{ x }}{% endmacro %}{% set x = 1 %}{{ outer() }}
{% for i in range(5) %}{% if i == 1 %}{% continue %}{% endif %}{% if i == 3 %}{% break %}{% endif %}{{ i }}{% endfor %}
{% for m in messages %}{{ loop.previtem.role if loop.previtem }}>{{ m.role }}>{{ loop.nextitem.role if loop.nextitem is defined }} {% endfor %}
{% for a in [1, 2] %}{% for b in [3, 4] %}{{ loop.index }}{{ loop.last }} {% endfor %}{{ loop.index0 }} {% endfor %}
{% for k, v in {'a': 1, 'b': 2} | items %}{{ k }}{{ v }}{% endfor %} {% for k in {'a': 1} %}{{ k }}{% endfor %} {% for x in 'hé' %}{{ x }}.{% endfor %}
{% generation %}a{{ 1 }}{% endgeneration %}b {%- generation -%} c {%- endgeneration -%} d
{% set t %}  <a> {{ 'é' }} {% endset %}[{{ t }}] {{ t | tojson }} {{ t is string }} {{ t.strip() }}
{% filter upper %}a{{ 'b' }}{% endfilter %} {% with a = 1 %}{{ a }}{% endwith %}{{ a is defined }}
{# comment {{ x }} #}{% raw %}{{ x }}{% endraw %}
{{ '{{' }} {{ "%}" }} {{ '#}' }} { } {% if true %}{ {% endif %}
{{ lipsum is defined }} {{ cycler is defined }} {{ joiner is defined }} {{ namespace is defined }} {{ range is defined }} {{ dict is defined }} {{ self is defined }} {{ loop is defined }}
{{ True }} {{ False }} {{ None }} {{ True and not False }}
{% if messages[0]['role'] == 'system' and messages | length > 1 %}a{% elif x %}b{% else %}c{% endif %}
{% if (messages[0].role == "user") != (0 is even) %}x{% endif %}|{{ (1 == 1) != (2 == 3) }}
{{ messages[0].content if messages[0].content is string else messages[0].content | map(attribute='text') | join('') }}
{{ caller is defined }} {{ varargs is defined }}
{% do messages %}
{% include 'other' %}
{% import 'other' as o %}
{% extends 'other' %}
{% block b %}inside{% endblock %}
{% autoescape true %}{{ '<' }}{% endautoescape %}
{% trans %}x{% endtrans %}
""".strip("\n").split("\n")
