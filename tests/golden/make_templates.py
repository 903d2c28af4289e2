#!/usr/bin/python3
"""Writes templates.h: published chat templates and what Jinja makes of them.

    apt-get install python3-jinja2
    tests/golden/make_templates.py > tests/golden/templates.h

The settings of the environment are those that the usual Python library renders templates with
(trim_blocks, lstrip_blocks). Used by tests/unit/engine/test_template.c.
"""
import re

from jinja2.exceptions import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

BOS, EOS = "<s>", "</s>"
RAISE = "{{ raise_exception('roles must alternate') }}"
ALTERNATE = ("{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}" + RAISE
             + "{% endif %}")
CHATML = ("{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}"
          "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}")


def chatml_with(system):
    return ("{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
            "{{ '<|im_start|>system\\n" + system + "<|im_end|>\\n' }}{% endif %}" + CHATML)


def qwen25(system):
    default = ("" if system is None else "{%- else %}\n    {{- '<|im_start|>system\\n" + system
               + "<|im_end|>\\n' }}\n")
    return """{%- if messages[0]['role'] == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}
""" + default + """{%- endif %}
{%- for message in messages %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) or (message.role == "assistant" and not message.tool_calls) %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "tool" %}
        {%- if (loop.index0 == 0) or (messages[loop.index0 - 1].role != "tool") %}
            {{- '<|im_start|>user' }}
        {%- endif %}
        {{- '\\n<tool_response>\\n' }}
        {{- message.content }}
        {{- '\\n</tool_response>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}
            {{- '<|im_end|>\\n' }}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""


def qwen3(generate):
    return """{%- if messages[0].role == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
{%- endif %}
{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step_tool and message.role == "user" and message.content is string and not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
        {%- set ns.multi_step_tool = false %}
        {%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- set content = message.content %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {%- set reasoning_content = '' %}
        {%- if '</think>' in content %}
            {%- set reasoning_content = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {%- if loop.index0 > ns.last_query_index %}
            {%- if loop.last or (not loop.last and reasoning_content) %}
                {{- '<|im_start|>' + message.role + '\\n<think>\\n' + reasoning_content.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}
            {%- else %}
                {{- '<|im_start|>' + message.role + '\\n' + content }}
            {%- endif %}
        {%- else %}
            {{- '<|im_start|>' + message.role + '\\n' + content }}
        {%- endif %}
        {{- '<|im_end|>\\n' }}
    {%- elif message.role == "tool" %}
        {%- if loop.first or (messages[loop.index0 - 1].role != "tool") %}
            {{- '<|im_start|>user' }}
        {%- endif %}
        {{- '\\n<tool_response>\\n' }}
        {{- content }}
        {{- '\\n</tool_response>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}
            {{- '<|im_end|>\\n' }}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
""" + generate + """
{%- endif %}"""


QWEN3_END = """    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}"""


def mistral(user_with_system, user, assistant, when):
    return """{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{{- bos_token }}
{%- for message in loop_messages %}
    {%- if (message["role"] == "user") != (loop.index0 % 2 == 0) %}
        """ + RAISE + """
    {%- endif %}
    {%- if message["role"] == "user" %}
        {%- if """ + when + """ and system_message is defined %}
            {{- """ + user_with_system + """ }}
        {%- else %}
            {{- """ + user + """ }}
        {%- endif %}
    {%- elif message["role"] == "assistant" %}
        {{- """ + assistant + """ }}
    {%- endif %}
{%- endfor %}
"""


def mistral_old(assistant):
    return ("{{ bos_token }}{% for message in messages %}" + ALTERNATE
            + "{% if message['role'] == 'user' %}"
            "{{ '[INST] ' + message['content'] + ' [/INST]' }}"
            "{% elif message['role'] == 'assistant' %}{{ " + assistant + "}}"
            "{% else %}" + RAISE + "{% endif %}{% endfor %}")


def deepseek_r1(generate):
    return ("{% set ns = namespace(system_prompt='') %}{%- for message in messages %}"
            "{%- if message['role'] == 'system' %}{% set ns.system_prompt = message['content'] %}"
            "{%- endif %}{%- endfor %}{{bos_token}}{{ns.system_prompt}}"
            "{%- for message in messages %}{%- if message['role'] == 'user' %}"
            "{{'<｜User｜>' + message['content']}}{%- endif %}"
            "{%- if message['role'] == 'assistant' %}{% set content = message['content'] %}"
            "{% if '</think>' in content %}{% set content = content.split('</think>')[-1] %}"
            "{% endif %}{{'<｜Assistant｜>' + content + '<｜end▁of▁sentence｜>'}}{%- endif %}"
            "{%- endfor -%}{% if add_generation_prompt %}{{" + generate + "}}{% endif %}")


TEMPLATES = {
    "chatml": "{% for message in messages %}" + CHATML,
    "smollm2": chatml_with(
        "You are a helpful AI assistant named SmolLM, trained by Hugging Face"),
    "qwen1.5": chatml_with("You are a helpful assistant"),
    "qwen2": chatml_with("You are a helpful assistant."),
    "qwen2.5": qwen25("You are Qwen, created by Alibaba Cloud. You are a helpful assistant."),
    "qwen2.5-math": qwen25(
        "Please reason step by step, and put your final answer within \\\\boxed{}."),
    "qwen3-instruct": qwen25(None),
    "qwen3": qwen3(QWEN3_END),
    "qwen3-thinking": qwen3("    {{- '<|im_start|>assistant\\n<think>\\n' }}"),
    "phi4": "{% for message in messages %}"
            "{{'<|im_start|>' + message['role'] + '<|im_sep|>' + message['content'] + '<|im_end|>'}}"
            "{% endfor %}{% if add_generation_prompt %}"
            "{{ '<|im_start|>assistant<|im_sep|>' }}{% endif %}",
    "llama2": "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}"
              "{% set system_message = messages[0]['content'] %}{% else %}"
              "{% set loop_messages = messages %}{% set system_message = false %}{% endif %}"
              "{% for message in loop_messages %}" + ALTERNATE +
              "{% if loop.index0 == 0 and system_message != false %}"
              "{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + "
              "message['content'] %}{% else %}{% set content = message['content'] %}{% endif %}"
              "{% if message['role'] == 'user' %}"
              "{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}"
              "{% elif message['role'] == 'assistant' %}"
              "{{ ' '  + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}",
    "llama3": "{% set loop_messages = messages %}{% for message in loop_messages %}"
              "{% set content = '<|start_header_id|>' + message['role'] + "
              "'<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' %}"
              "{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}"
              "{{ content }}{% endfor %}{% if add_generation_prompt %}"
              "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}",
    "llama3.1": """{{- bos_token }}
{%- if not date_string is defined %}
    {%- set date_string = "26 Jul 2024" %}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{{- "Cutting Knowledge Date: December 2023\\n" }}
{{- "Today Date: " + date_string + "\\n\\n" }}
{{- system_message }}
{{- "<|eot_id|>" }}
{%- for message in messages %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
""",
    "mistral-v0.1": mistral_old("message['content'] + eos_token + ' ' "),
    "mistral-v0.2": mistral_old("message['content'] + eos_token"),
    "mistral-v1": mistral('" [INST] " + system_message + "\\n\\n" + message["content"] + " [/INST]"',
                          '" [INST] " + message["content"] + " [/INST]"',
                          '" " + message["content"] + eos_token', "loop.first"),
    "mistral-v3": mistral('"[INST] " + system_message + "\\n\\n" + message["content"] + "[/INST]"',
                          '"[INST] " + message["content"] + "[/INST]"',
                          '" " + message["content"]|trim + eos_token', "loop.last"),
    "mistral-v3-tekken": mistral(
        '"[INST]" + system_message + "\\n\\n" + message["content"] + "[/INST]"',
        '"[INST]" + message["content"] + "[/INST]"',
        'message["content"] + eos_token', "loop.last"),
    "mistral-v7": "{{- bos_token }}{%- for message in messages %}"
                  "{%- if message['role'] == 'user' %}"
                  "{{- '[INST] ' + message['content'] + '[/INST]' }}"
                  "{%- elif message['role'] == 'system' %}"
                  "{{- '[SYSTEM_PROMPT] ' + message['content'] + '[/SYSTEM_PROMPT]' }}"
                  "{%- elif message['role'] == 'assistant' %}"
                  "{{- ' ' + message['content'] + eos_token }}"
                  "{%- else %}" + RAISE + "{%- endif %}{%- endfor %}",
    "zephyr": "{% for message in messages %}\n{% if message['role'] == 'user' %}\n"
              "{{ '<|user|>\n' + message['content'] + eos_token }}\n"
              "{% elif message['role'] == 'system' %}\n"
              "{{ '<|system|>\n' + message['content'] + eos_token }}\n"
              "{% elif message['role'] == 'assistant' %}\n"
              "{{ '<|assistant|>\n'  + message['content'] + eos_token }}\n{% endif %}\n"
              "{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n"
              "{% endif %}\n{% endfor %}",
    "gemma": "{{ bos_token }}{% if messages[0]['role'] == 'system' %}" + RAISE + "{% endif %}"
             "{% for message in messages %}" + ALTERNATE +
             "{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}"
             "{% set role = message['role'] %}{% endif %}"
             "{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}"
             "{% endfor %}{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}",
    "gemma3": "{{ bos_token }}\n{%- if messages[0]['role'] == 'system' -%}\n"
              "    {%- set first_user_prefix = messages[0]['content'] + '\n\n' -%}\n"
              "    {%- set loop_messages = messages[1:] -%}\n{%- else -%}\n"
              "    {%- set first_user_prefix = \"\" -%}\n"
              "    {%- set loop_messages = messages -%}\n{%- endif -%}\n"
              "{%- for message in loop_messages -%}\n"
              "    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}\n        "
              + RAISE + "\n    {%- endif -%}\n"
              "    {%- if (message['role'] == 'assistant') -%}\n        {%- set role = \"model\" -%}\n"
              "    {%- else -%}\n        {%- set role = message['role'] -%}\n    {%- endif -%}\n"
              "    {{ '<start_of_turn>' + role + '\n' + (first_user_prefix if loop.first else \"\") }}\n"
              "    {%- if message['content'] is string -%}\n"
              "        {{ message['content'] | trim }}\n    {%- endif -%}\n"
              "    {{ '<end_of_turn>\n' }}\n{%- endfor -%}\n"
              "{%- if add_generation_prompt -%}\n    {{'<start_of_turn>model\n'}}\n{%- endif -%}\n",
    "phi3": "{% for message in messages %}{% if message['role'] == 'system' %}"
            "{{'<|system|>\n' + message['content'] + '<|end|>\n'}}"
            "{% elif message['role'] == 'user' %}"
            "{{'<|user|>\n' + message['content'] + '<|end|>\n'}}"
            "{% elif message['role'] == 'assistant' %}"
            "{{'<|assistant|>\n' + message['content'] + '<|end|>\n'}}{% endif %}{% endfor %}"
            "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}"
            "{% endif %}",
    "vicuna": "{%- for message in messages -%}{%- if message['role'] == 'system' -%}"
              "{{- '' + message['content'] + '\n\n' -}}{%- elif message['role'] == 'user' -%}"
              "{{-'USER: ' + message['content'] + '\n'-}}{%- else -%}"
              "{{-'ASSISTANT: ' + message['content'] + '</s>\n' -}}{%- endif -%}{%- endfor -%}"
              "{%- if add_generation_prompt -%}{{-'ASSISTANT:'-}}{%- endif -%}",
    "openchat": "{{ bos_token }}{% for message in messages %}{{ 'GPT4 Correct ' + "
                "message['role'].title() + ': ' + message['content'] + '<|end_of_turn|>'}}"
                "{% endfor %}{% if add_generation_prompt %}{{ 'GPT4 Correct Assistant:' }}"
                "{% endif %}",
    "deepseek": "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}"
                "{{ 'User: ' + message['content'] + '\n\n' }}"
                "{% elif message['role'] == 'assistant' %}"
                "{{ 'Assistant: ' + message['content'] + eos_token }}"
                "{% elif message['role'] == 'system' %}{{ message['content'] + '\n\n' }}"
                "{% endif %}{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}"
                "{% endif %}",
    "deepseek-r1": deepseek_r1("'<｜Assistant｜>'"),
    "deepseek-r1-think": deepseek_r1("'<｜Assistant｜><think>\\n'"),
}

SYSTEM = ["system", " Be brief.\n"]
ASK = ["user", "  What is 2+2? <|im_end|>\u3000\n"]
ANSWER = ["assistant", "<think>\n\nsum\n</think>\n\n 4. "]
AGAIN = ["user", "Überprüfe\tdas\x1f"]
CHATS = [
    [["user", "Hi"]],
    [SYSTEM, ASK],
    [ASK, ANSWER, AGAIN],
    [SYSTEM, ASK, ANSWER, AGAIN],
    [ASK, ["assistant", "plain"], AGAIN, ANSWER, ["user", " \n "]],
    [SYSTEM, ["user", "\n"]],
    [ASK, ASK],
    [["assistant", "first"], ASK],
]
QWEN_CHATS = [
    [ASK, ANSWER, ["tool", "4"], ["tool", "5"], ["assistant", "ok"], AGAIN],
    [ASK, ANSWER, ["tool", "4"]],
    [ASK, ["assistant", "call"], ["tool", "4"], ["assistant", "<think>t</think>x"], ["tool", "5"]],
    [ASK, ANSWER],
    [["user", "<tool_response>x</tool_response>"], ["assistant", "y</think>z"]],
]


def literal(text):
    """A C string of the text's UTF-8, on several lines if it is long."""
    if text is None:
        return "NULL"
    out = ""
    for byte in text.encode():
        char = chr(byte)
        if char == "\n":
            out += "\\n"
        elif char in '"\\?':
            out += "\\" + char
        else:
            out += char if 32 <= byte < 127 else "\\%03o" % byte
    parts = re.findall(r"(?:\\[0-7]{3}|\\.|[^\\]){1,80}", out) or [""]
    return "\n        ".join('"%s"' % part for part in parts)


def main():
    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)

    def raise_exception(message):
        raise TemplateError(message)

    env.globals["raise_exception"] = raise_exception
    print("/* templates.h - made by make_templates.py; do not edit.\n"
          " *\n * BOS is <s>, EOS is </s>. prompt NULL: the template refuses the messages. */")
    print("static const struct { const char *name, *text; } templates[] = {")
    for name, text in TEMPLATES.items():
        print("    {%s,\n        %s}," % (literal(name), literal(text)))
    print("};\n")
    print("static const struct { const char *name, *msgs[8][2], *prompt; } renders[] = {")
    for name, text in TEMPLATES.items():
        for chat in CHATS + (QWEN_CHATS if "<tool_response>" in text else []):
            messages = [{"role": role, "content": content} for role, content in chat]
            try:
                prompt = env.from_string(text).render(
                    messages=messages, bos_token=BOS, eos_token=EOS, add_generation_prompt=True)
            except TemplateError:
                prompt = None
            pairs = ", ".join("{%s, %s}" % (literal(r), literal(c)) for r, c in chat)
            print("    {%s, {%s},\n        %s}," % (literal(name), pairs, literal(prompt)))
    print("};")


if __name__ == "__main__":
    main()
