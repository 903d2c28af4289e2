/* templates.h - made by make_templates.py; do not edit.
 *
 * BOS is <s>, EOS is </s>. prompt NULL: the template refuses the messages. */
static const struct {
    const char *name, *text;
} templates[] = {
    {"chatml", "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message"
               "['content'] + '<|im_end|>' + '\\n'}}{% endfor %}{% if add_generation_prompt %}{{ "
               "'<|im_start|>assistant\\n' }}{% endif %}"},
    {"smollm2", "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system"
                "' %}{{ '<|im_start|>system\\nYou are a helpful AI assistant named SmolLM, trained"
                " by Hugging Face<|im_end|>\\n' }}{% endif %}{{'<|im_start|>' + message['role'] + "
                "'\\n' + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}{% if add_generatio"
                "n_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"},
    {"qwen1.5", "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system"
                "' %}{{ '<|im_start|>system\\nYou are a helpful assistant<|im_end|>\\n' }}{% endif "
                "%}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' "
                "+ '\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }"
                "}{% endif %}"},
    {"qwen2", "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system"
              "' %}{{ '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}{% endif"
              " %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>'"
              " + '\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' "
              "}}{% endif %}"},
    {"qwen2.5",
     "{%- if messages[0]['role'] == 'system' %}\n    {{- '<|im_start|>system\\n' + messa"
     "ges[0]['content'] + '<|im_end|>\\n' }}\n{%- else %}\n    {{- '<|im_start|>system\\nY"
     "ou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\\n'"
     " }}\n{%- endif %}\n{%- for message in messages %}\n    {%- if (message.role == \"use"
     "r\") or (message.role == \"system\" and not loop.first) or (message.role == \"assist"
     "ant\" and not message.tool_calls) %}\n        {{- '<|im_start|>' + message.role + "
     "'\\n' + message.content + '<|im_end|>' + '\\n' }}\n    {%- elif message.role == \"to"
     "ol\" %}\n        {%- if (loop.index0 == 0) or (messages[loop.index0 - 1].role != \""
     "tool\") %}\n            {{- '<|im_start|>user' }}\n        {%- endif %}\n        {{-"
     " '\\n<tool_response>\\n' }}\n        {{- message.content }}\n        {{- '\\n</tool_r"
     "esponse>' }}\n        {%- if loop.last or (messages[loop.index0 + 1].role != \"too"
     "l\") %}\n            {{- '<|im_end|>\\n' }}\n        {%- endif %}\n    {%- endif %}\n{"
     "%- endfor %}\n{%- if add_generation_prompt %}\n    {{- '<|im_start|>assistant\\n' }"
     "}\n{%- endif %}\n"},
    {"qwen2.5-math",
     "{%- if messages[0]['role'] == 'system' %}\n    {{- '<|im_start|>system\\n' + messa"
     "ges[0]['content'] + '<|im_end|>\\n' }}\n{%- else %}\n    {{- '<|im_start|>system\\nP"
     "lease reason step by step, and put your final answer within \\\\boxed{}.<|im_end|>"
     "\\n' }}\n{%- endif %}\n{%- for message in messages %}\n    {%- if (message.role == \""
     "user\") or (message.role == \"system\" and not loop.first) or (message.role == \"ass"
     "istant\" and not message.tool_calls) %}\n        {{- '<|im_start|>' + message.role"
     " + '\\n' + message.content + '<|im_end|>' + '\\n' }}\n    {%- elif message.role == "
     "\"tool\" %}\n        {%- if (loop.index0 == 0) or (messages[loop.index0 - 1].role !"
     "= \"tool\") %}\n            {{- '<|im_start|>user' }}\n        {%- endif %}\n        "
     "{{- '\\n<tool_response>\\n' }}\n        {{- message.content }}\n        {{- '\\n</too"
     "l_response>' }}\n        {%- if loop.last or (messages[loop.index0 + 1].role != \""
     "tool\") %}\n            {{- '<|im_end|>\\n' }}\n        {%- endif %}\n    {%- endif %"
     "}\n{%- endfor %}\n{%- if add_generation_prompt %}\n    {{- '<|im_start|>assistant\\n"
     "' }}\n{%- endif %}\n"},
    {"qwen3-instruct",
     "{%- if messages[0]['role'] == 'system' %}\n    {{- '<|im_start|>system\\n' + messa"
     "ges[0]['content'] + '<|im_end|>\\n' }}\n{%- endif %}\n{%- for message in messages %"
     "}\n    {%- if (message.role == \"user\") or (message.role == \"system\" and not loop."
     "first) or (message.role == \"assistant\" and not message.tool_calls) %}\n        {{"
     "- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }"
     "}\n    {%- elif message.role == \"tool\" %}\n        {%- if (loop.index0 == 0) or (m"
     "essages[loop.index0 - 1].role != \"tool\") %}\n            {{- '<|im_start|>user' }"
     "}\n        {%- endif %}\n        {{- '\\n<tool_response>\\n' }}\n        {{- message."
     "content }}\n        {{- '\\n</tool_response>' }}\n        {%- if loop.last or (mess"
     "ages[loop.index0 + 1].role != \"tool\") %}\n            {{- '<|im_end|>\\n' }}\n     "
     "   {%- endif %}\n    {%- endif %}\n{%- endfor %}\n{%- if add_generation_prompt %}\n "
     "   {{- '<|im_start|>assistant\\n' }}\n{%- endif %}\n"},
    {"qwen3",
     "{%- if messages[0].role == 'system' %}\n    {{- '<|im_start|>system\\n' + messages"
     "[0].content + '<|im_end|>\\n' }}\n{%- endif %}\n{%- set ns = namespace(multi_step_t"
     "ool=true, last_query_index=messages|length - 1) %}\n{%- for message in messages[:"
     ":-1] %}\n    {%- set index = (messages|length - 1) - loop.index0 %}\n    {%- if ns"
     ".multi_step_tool and message.role == \"user\" and message.content is string and no"
     "t(message.content.startswith('<tool_response>') and message.content.endswith('</"
     "tool_response>')) %}\n        {%- set ns.multi_step_tool = false %}\n        {%- s"
     "et ns.last_query_index = index %}\n    {%- endif %}\n{%- endfor %}\n{%- for message"
     " in messages %}\n    {%- set content = message.content %}\n    {%- if (message.rol"
     "e == \"user\") or (message.role == \"system\" and not loop.first) %}\n        {{- '<|"
     "im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}\n    {%- eli"
     "f message.role == \"assistant\" %}\n        {%- set reasoning_content = '' %}\n     "
     "   {%- if '</think>' in content %}\n            {%- set reasoning_content = conte"
     "nt.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}\n      "
     "      {%- set content = content.split('</think>')[-1].lstrip('\\n') %}\n        {%"
     "- endif %}\n        {%- if loop.index0 > ns.last_query_index %}\n            {%- i"
     "f loop.last or (not loop.last and reasoning_content) %}\n                {{- '<|i"
     "m_start|>' + message.role + '\\n<think>\\n' + reasoning_content.strip('\\n') + '\\n<"
     "/think>\\n\\n' + content.lstrip('\\n') }}\n            {%- else %}\n                {"
     "{- '<|im_start|>' + message.role + '\\n' + content }}\n            {%- endif %}\n  "
     "      {%- else %}\n            {{- '<|im_start|>' + message.role + '\\n' + content"
     " }}\n        {%- endif %}\n        {{- '<|im_end|>\\n' }}\n    {%- elif message.role"
     " == \"tool\" %}\n        {%- if loop.first or (messages[loop.index0 - 1].role != \"t"
     "ool\") %}\n            {{- '<|im_start|>user' }}\n        {%- endif %}\n        {{- "
     "'\\n<tool_response>\\n' }}\n        {{- content }}\n        {{- '\\n</tool_response>'"
     " }}\n        {%- if loop.last or (messages[loop.index0 + 1].role != \"tool\") %}\n  "
     "          {{- '<|im_end|>\\n' }}\n        {%- endif %}\n    {%- endif %}\n{%- endfor"
     " %}\n{%- if add_generation_prompt %}\n    {{- '<|im_start|>assistant\\n' }}\n    {%-"
     " if enable_thinking is defined and enable_thinking is false %}\n        {{- '<thi"
     "nk>\\n\\n</think>\\n\\n' }}\n    {%- endif %}\n{%- endif %}"},
    {"qwen3-thinking",
     "{%- if messages[0].role == 'system' %}\n    {{- '<|im_start|>system\\n' + messages"
     "[0].content + '<|im_end|>\\n' }}\n{%- endif %}\n{%- set ns = namespace(multi_step_t"
     "ool=true, last_query_index=messages|length - 1) %}\n{%- for message in messages[:"
     ":-1] %}\n    {%- set index = (messages|length - 1) - loop.index0 %}\n    {%- if ns"
     ".multi_step_tool and message.role == \"user\" and message.content is string and no"
     "t(message.content.startswith('<tool_response>') and message.content.endswith('</"
     "tool_response>')) %}\n        {%- set ns.multi_step_tool = false %}\n        {%- s"
     "et ns.last_query_index = index %}\n    {%- endif %}\n{%- endfor %}\n{%- for message"
     " in messages %}\n    {%- set content = message.content %}\n    {%- if (message.rol"
     "e == \"user\") or (message.role == \"system\" and not loop.first) %}\n        {{- '<|"
     "im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}\n    {%- eli"
     "f message.role == \"assistant\" %}\n        {%- set reasoning_content = '' %}\n     "
     "   {%- if '</think>' in content %}\n            {%- set reasoning_content = conte"
     "nt.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}\n      "
     "      {%- set content = content.split('</think>')[-1].lstrip('\\n') %}\n        {%"
     "- endif %}\n        {%- if loop.index0 > ns.last_query_index %}\n            {%- i"
     "f loop.last or (not loop.last and reasoning_content) %}\n                {{- '<|i"
     "m_start|>' + message.role + '\\n<think>\\n' + reasoning_content.strip('\\n') + '\\n<"
     "/think>\\n\\n' + content.lstrip('\\n') }}\n            {%- else %}\n                {"
     "{- '<|im_start|>' + message.role + '\\n' + content }}\n            {%- endif %}\n  "
     "      {%- else %}\n            {{- '<|im_start|>' + message.role + '\\n' + content"
     " }}\n        {%- endif %}\n        {{- '<|im_end|>\\n' }}\n    {%- elif message.role"
     " == \"tool\" %}\n        {%- if loop.first or (messages[loop.index0 - 1].role != \"t"
     "ool\") %}\n            {{- '<|im_start|>user' }}\n        {%- endif %}\n        {{- "
     "'\\n<tool_response>\\n' }}\n        {{- content }}\n        {{- '\\n</tool_response>'"
     " }}\n        {%- if loop.last or (messages[loop.index0 + 1].role != \"tool\") %}\n  "
     "          {{- '<|im_end|>\\n' }}\n        {%- endif %}\n    {%- endif %}\n{%- endfor"
     " %}\n{%- if add_generation_prompt %}\n    {{- '<|im_start|>assistant\\n<think>\\n' }"
     "}\n{%- endif %}"},
    {"phi4", "{% for message in messages %}{{'<|im_start|>' + message['role'] + '<|im_sep|>' +"
             " message['content'] + '<|im_end|>'}}{% endfor %}{% if add_generation_prompt %}{{"
             " '<|im_start|>assistant<|im_sep|>' }}{% endif %}"},
    {"llama2", "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{%"
               " set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = "
               "messages %}{% set system_message = false %}{% endif %}{% for message in loop_mes"
               "sages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_e"
               "xception('roles must alternate') }}{% endif %}{% if loop.index0 == 0 and system_"
               "message != false %}{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n"
               "\\n' + message['content'] %}{% else %}{% set content = message['content'] %}{% en"
               "dif %}{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip"
               "() + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ ' '  + content.str"
               "ip() + ' ' + eos_token }}{% endif %}{% endfor %}"},
    {"llama3", "{% set loop_messages = messages %}{% for message in loop_messages %}{% set conte"
               "nt = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['c"
               "ontent'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_t"
               "oken + content %}{% endif %}{{ content }}{% endfor %}{% if add_generation_prompt"
               " %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"},
    {"llama3.1",
     "{{- bos_token }}\n{%- if not date_string is defined %}\n    {%- set date_string = "
     "\"26 Jul 2024\" %}\n{%- endif %}\n{%- if messages[0]['role'] == 'system' %}\n    {%- "
     "set system_message = messages[0]['content']|trim %}\n    {%- set messages = messa"
     "ges[1:] %}\n{%- else %}\n    {%- set system_message = \"\" %}\n{%- endif %}\n{{- \"<|st"
     "art_header_id|>system<|end_header_id|>\\n\\n\" }}\n{{- \"Cutting Knowledge Date: Dece"
     "mber 2023\\n\" }}\n{{- \"Today Date: \" + date_string + \"\\n\\n\" }}\n{{- system_message "
     "}}\n{{- \"<|eot_id|>\" }}\n{%- for message in messages %}\n    {{- '<|start_header_id"
     "|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|"
     "eot_id|>' }}\n{%- endfor %}\n{%- if add_generation_prompt %}\n    {{- '<|start_head"
     "er_id|>assistant<|end_header_id|>\\n\\n' }}\n{%- endif %}\n"},
    {"mistral-v0.1",
     "{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') !="
     " (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif "
     "%}{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST"
     "]' }}{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token "
     "+ ' ' }}{% else %}{{ raise_exception('roles must alternate') }}{% endif %}{% end"
     "for %}"},
    {"mistral-v0.2",
     "{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') !="
     " (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif "
     "%}{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST"
     "]' }}{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token}"
     "}{% else %}{{ raise_exception('roles must alternate') }}{% endif %}{% endfor %}"},
    {"mistral-v1",
     "{%- if messages[0][\"role\"] == \"system\" %}\n    {%- set system_message = messages["
     "0][\"content\"] %}\n    {%- set loop_messages = messages[1:] %}\n{%- else %}\n    {%-"
     " set loop_messages = messages %}\n{%- endif %}\n{{- bos_token }}\n{%- for message i"
     "n loop_messages %}\n    {%- if (message[\"role\"] == \"user\") != (loop.index0 % 2 =="
     " 0) %}\n        {{ raise_exception('roles must alternate') }}\n    {%- endif %}\n  "
     "  {%- if message[\"role\"] == \"user\" %}\n        {%- if loop.first and system_messa"
     "ge is defined %}\n            {{- \" [INST] \" + system_message + \"\\n\\n\" + message["
     "\"content\"] + \" [/INST]\" }}\n        {%- else %}\n            {{- \" [INST] \" + mess"
     "age[\"content\"] + \" [/INST]\" }}\n        {%- endif %}\n    {%- elif message[\"role\"]"
     " == \"assistant\" %}\n        {{- \" \" + message[\"content\"] + eos_token }}\n    {%- e"
     "ndif %}\n{%- endfor %}\n"},
    {"mistral-v3",
     "{%- if messages[0][\"role\"] == \"system\" %}\n    {%- set system_message = messages["
     "0][\"content\"] %}\n    {%- set loop_messages = messages[1:] %}\n{%- else %}\n    {%-"
     " set loop_messages = messages %}\n{%- endif %}\n{{- bos_token }}\n{%- for message i"
     "n loop_messages %}\n    {%- if (message[\"role\"] == \"user\") != (loop.index0 % 2 =="
     " 0) %}\n        {{ raise_exception('roles must alternate') }}\n    {%- endif %}\n  "
     "  {%- if message[\"role\"] == \"user\" %}\n        {%- if loop.last and system_messag"
     "e is defined %}\n            {{- \"[INST] \" + system_message + \"\\n\\n\" + message[\"c"
     "ontent\"] + \"[/INST]\" }}\n        {%- else %}\n            {{- \"[INST] \" + message["
     "\"content\"] + \"[/INST]\" }}\n        {%- endif %}\n    {%- elif message[\"role\"] == \""
     "assistant\" %}\n        {{- \" \" + message[\"content\"]|trim + eos_token }}\n    {%- e"
     "ndif %}\n{%- endfor %}\n"},
    {"mistral-v3-tekken",
     "{%- if messages[0][\"role\"] == \"system\" %}\n    {%- set system_message = messages["
     "0][\"content\"] %}\n    {%- set loop_messages = messages[1:] %}\n{%- else %}\n    {%-"
     " set loop_messages = messages %}\n{%- endif %}\n{{- bos_token }}\n{%- for message i"
     "n loop_messages %}\n    {%- if (message[\"role\"] == \"user\") != (loop.index0 % 2 =="
     " 0) %}\n        {{ raise_exception('roles must alternate') }}\n    {%- endif %}\n  "
     "  {%- if message[\"role\"] == \"user\" %}\n        {%- if loop.last and system_messag"
     "e is defined %}\n            {{- \"[INST]\" + system_message + \"\\n\\n\" + message[\"co"
     "ntent\"] + \"[/INST]\" }}\n        {%- else %}\n            {{- \"[INST]\" + message[\"c"
     "ontent\"] + \"[/INST]\" }}\n        {%- endif %}\n    {%- elif message[\"role\"] == \"as"
     "sistant\" %}\n        {{- message[\"content\"] + eos_token }}\n    {%- endif %}\n{%- e"
     "ndfor %}\n"},
    {"mistral-v7",
     "{{- bos_token }}{%- for message in messages %}{%- if message['role'] == 'user' %"
     "}{{- '[INST] ' + message['content'] + '[/INST]' }}{%- elif message['role'] == 's"
     "ystem' %}{{- '[SYSTEM_PROMPT] ' + message['content'] + '[/SYSTEM_PROMPT]' }}{%- "
     "elif message['role'] == 'assistant' %}{{- ' ' + message['content'] + eos_token }"
     "}{%- else %}{{ raise_exception('roles must alternate') }}{%- endif %}{%- endfor "
     "%}"},
    {"zephyr",
     "{% for message in messages %}\n{% if message['role'] == 'user' %}\n{{ '<|user|>\n' "
     "+ message['content'] + eos_token }}\n{% elif message['role'] == 'system' %}\n{{ '<"
     "|system|>\n' + message['content'] + eos_token }}\n{% elif message['role'] == 'assi"
     "stant' %}\n{{ '<|assistant|>\n'  + message['content'] + eos_token }}\n{% endif %}\n{"
     "% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n{%"
     " endfor %}"},
    {"gemma", "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('roles"
              " must alternate') }}{% endif %}{% for message in messages %}{% if (message['role"
              "'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alterna"
              "te') }}{% endif %}{% if (message['role'] == 'assistant') %}{% set role = 'model'"
              " %}{% else %}{% set role = message['role'] %}{% endif %}{{ '<start_of_turn>' + r"
              "ole + '\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}{% if add"
              "_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}"},
    {"gemma3",
     "{{ bos_token }}\n{%- if messages[0]['role'] == 'system' -%}\n    {%- set first_use"
     "r_prefix = messages[0]['content'] + '\n\n' -%}\n    {%- set loop_messages = message"
     "s[1:] -%}\n{%- else -%}\n    {%- set first_user_prefix = \"\" -%}\n    {%- set loop_m"
     "essages = messages -%}\n{%- endif -%}\n{%- for message in loop_messages -%}\n    {%"
     "- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}\n        {{ raise_"
     "exception('roles must alternate') }}\n    {%- endif -%}\n    {%- if (message['role"
     "'] == 'assistant') -%}\n        {%- set role = \"model\" -%}\n    {%- else -%}\n     "
     "   {%- set role = message['role'] -%}\n    {%- endif -%}\n    {{ '<start_of_turn>'"
     " + role + '\n' + (first_user_prefix if loop.first else \"\") }}\n    {%- if message["
     "'content'] is string -%}\n        {{ message['content'] | trim }}\n    {%- endif -"
     "%}\n    {{ '<end_of_turn>\n' }}\n{%- endfor -%}\n{%- if add_generation_prompt -%}\n  "
     "  {{'<start_of_turn>model\n'}}\n{%- endif -%}\n"},
    {"phi3", "{% for message in messages %}{% if message['role'] == 'system' %}{{'<|system|>\n'"
             " + message['content'] + '<|end|>\n'}}{% elif message['role'] == 'user' %}{{'<|use"
             "r|>\n' + message['content'] + '<|end|>\n'}}{% elif message['role'] == 'assistant' "
             "%}{{'<|assistant|>\n' + message['content'] + '<|end|>\n'}}{% endif %}{% endfor %}{"
             "% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% e"
             "ndif %}"},
    {"vicuna", "{%- for message in messages -%}{%- if message['role'] == 'system' -%}{{- '' + me"
               "ssage['content'] + '\n\n' -}}{%- elif message['role'] == 'user' -%}{{-'USER: ' + m"
               "essage['content'] + '\n'-}}{%- else -%}{{-'ASSISTANT: ' + message['content'] + '<"
               "/s>\n' -}}{%- endif -%}{%- endfor -%}{%- if add_generation_prompt -%}{{-'ASSISTAN"
               "T:'-}}{%- endif -%}"},
    {"openchat", "{{ bos_token }}{% for message in messages %}{{ 'GPT4 Correct ' + message['role']"
                 ".title() + ': ' + message['content'] + '<|end_of_turn|>'}}{% endfor %}{% if add_"
                 "generation_prompt %}{{ 'GPT4 Correct Assistant:' }}{% endif %}"},
    {"deepseek",
     "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}{{"
     " 'User: ' + message['content'] + '\n\n' }}{% elif message['role'] == 'assistant' %"
     "}{{ 'Assistant: ' + message['content'] + eos_token }}{% elif message['role'] == "
     "'system' %}{{ message['content'] + '\n\n' }}{% endif %}{% endfor %}{% if add_gener"
     "ation_prompt %}{{ 'Assistant:' }}{% endif %}"},
    {"deepseek-r1",
     "{% set ns = namespace(system_prompt='') %}{%- for message in messages %}{%- if m"
     "essage['role'] == 'system' %}{% set ns.system_prompt = message['content'] %}{%- "
     "endif %}{%- endfor %}{{bos_token}}{{ns.system_prompt}}{%- for message in message"
     "s %}{%- if message['role'] == 'user' %}{{'<\357\275\234User\357\275\234>' + "
     "message['content']}}{%"
     "- endif %}{%- if message['role'] == 'assistant' %}{% set content = message['cont"
     "ent'] %}{% if '</think>' in content %}{% set content = content.split('</think>')"
     "[-1] %}{% endif %}{{'<\357\275\234Assistant\357\275\234>' + content + "
     "'<\357\275\234end\342\226\201of\342\226\201sentence\357\275\234>"
     "'}}{%- endif %}{%- endfor -%}{% if add_generation_prompt "
     "%}{{'<\357\275\234Assistant\357\275\234>'"
     "}}{% endif %}"},
    {"deepseek-r1-think",
     "{% set ns = namespace(system_prompt='') %}{%- for message in messages %}{%- if m"
     "essage['role'] == 'system' %}{% set ns.system_prompt = message['content'] %}{%- "
     "endif %}{%- endfor %}{{bos_token}}{{ns.system_prompt}}{%- for message in message"
     "s %}{%- if message['role'] == 'user' %}{{'<\357\275\234User\357\275\234>' + "
     "message['content']}}{%"
     "- endif %}{%- if message['role'] == 'assistant' %}{% set content = message['cont"
     "ent'] %}{% if '</think>' in content %}{% set content = content.split('</think>')"
     "[-1] %}{% endif %}{{'<\357\275\234Assistant\357\275\234>' + content + "
     "'<\357\275\234end\342\226\201of\342\226\201sentence\357\275\234>"
     "'}}{%- endif %}{%- endfor -%}{% if add_generation_prompt "
     "%}{{'<\357\275\234Assistant\357\275\234><"
     "think>\\n'}}{% endif %}"},
};

static const struct {
    const char *name, *msgs[8][2], *prompt;
} renders[] = {
    {"chatml", {{"user", "Hi"}}, "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"},
    {"chatml",
     {{"system", " Be brief.\n"}, {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"}},
     "<|im_start|>system\n Be brief.\n<|im_end|>\n<|im_start|>user\n  What is 2+2\? <|im_en"
     "d|>\343\200\200\n<|im_end|>\n<|im_start|>assistant\n"},
    {"chatml",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"user", "\303\234berpr\303\274fe\011das\037"}},
     "<|im_start|>user\n  What is 2+2\? "
     "<|im_end|>\343\200\200\n<|im_end|>\n<|im_start|>assistant\n<"
     "think>\n\nsum\n</think>\n\n 4. "
     "<|im_end|>\n<|im_start|>user\n\303\234berpr\303\274fe\011das\037<|im_end|>"
     "\n<|im_start|>assistant\n"},
    {"chatml",
     {{"system", " Be brief.\n"},
      {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"user", "\303\234berpr\303\274fe\011das\037"}},
     "<|im_start|>system\n Be brief.\n<|im_end|>\n<|im_start|>user\n  What is 2+2\? <|im_en"
     "d|>\343\200\200\n<|im_end|>\n<|im_start|>assistant\n<think>\n\nsum\n</think>\n\n 4. "
     "<|im_end|>\n<|"
     "im_start|>user\n\303\234berpr\303\274fe\011das\037<|im_end|>\n<|im_start|>assistant\n"},
    {"chatml",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "plain"},
      {"user", "\303\234berpr\303\274fe\011das\037"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"user", " \n "}},
     "<|im_start|>user\n  What is 2+2\? "
     "<|im_end|>\343\200\200\n<|im_end|>\n<|im_start|>assistant\np"
     "lain<|im_end|>\n<|im_start|>user\n\303\234berpr\303\274fe\011das\037<|im_end|>\n<|im_start|>"
     "assistant"
     "\n<think>\n\nsum\n</think>\n\n 4. <|im_end|>\n<|im_start|>user\n \n <|im_end|>\n<|im_start"
     "|>assistant\n"},
    {"chatml",
     {{"system", " Be brief.\n"}, {"user", "\n"}},
     "<|im_start|>system\n Be brief.\n<|im_end|>\n<|im_start|>user\n\n<|im_end|>\n<|im_start"
     "|>assistant\n"},
    {"chatml",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"}},
     "<|im_start|>user\n  What is 2+2\? <|im_end|>\343\200\200\n<|im_end|>\n<|im_start|>user\n  "
     "What"
     " is 2+2\? <|im_end|>\343\200\200\n<|im_end|>\n<|im_start|>assistant\n"},
    {"chatml",
     {{"assistant", "first"}, {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"}},
     "<|im_start|>assistant\nfirst<|im_end|>\n<|im_start|>user\n  What is 2+2\? <|im_end|>"
     "\343\200\200\n<|im_end|>\n<|im_start|>assistant\n"},
    {"smollm2",
     {{"user", "Hi"}},
     "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Huggi"
     "ng Face<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"},
    {"smollm2",
     {{"system", " Be brief.\n"}, {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"}},
     "<|im_start|>system\n Be brief.\n<|im_end|>\n<|im_start|>user\n  What is 2+2\? <|im_en"
     "d|>\343\200\200\n<|im_end|>\n<|im_start|>assistant\n"},
    {"smollm2",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"user", "\303\234berpr\303\274fe\011das\037"}},
     "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Huggi"
     "ng Face<|im_end|>\n<|im_start|>user\n  What is 2+2\? "
     "<|im_end|>\343\200\200\n<|im_end|>\n<|im_"
     "start|>assistant\n<think>\n\nsum\n</think>\n\n 4. "
     "<|im_end|>\n<|im_start|>user\n\303\234berpr\303"
     "\274fe\011das\037<|im_end|>\n<|im_start|>assistant\n"},
    {"smollm2",
     {{"system", " Be brief.\n"},
      {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"user", "\303\234berpr\303\274fe\011das\037"}},
     "<|im_start|>system\n Be brief.\n<|im_end|>\n<|im_start|>user\n  What is 2+2\? <|im_en"
     "d|>\343\200\200\n<|im_end|>\n<|im_start|>assistant\n<think>\n\nsum\n</think>\n\n 4. "
     "<|im_end|>\n<|"
     "im_start|>user\n\303\234berpr\303\274fe\011das\037<|im_end|>\n<|im_start|>assistant\n"},
    {"smollm2",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "plain"},
      {"user", "\303\234berpr\303\274fe\011das\037"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"user", " \n "}},
     "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Huggi"
     "ng Face<|im_end|>\n<|im_start|>user\n  What is 2+2\? "
     "<|im_end|>\343\200\200\n<|im_end|>\n<|im_"
     "start|>assistant\nplain<|im_end|>\n<|im_start|>user\n\303\234berpr\303\274fe\011das\037<|im_"
     "end|>\n<|i"
     "m_start|>assistant\n<think>\n\nsum\n</think>\n\n 4. <|im_end|>\n<|im_start|>user\n \n <|i"
     "m_end|>\n<|im_start|>assistant\n"},
    {"smollm2",
     {{"system", " Be brief.\n"}, {"user", "\n"}},
     "<|im_start|>system\n Be brief.\n<|im_end|>\n<|im_start|>user\n\n<|im_end|>\n<|im_start"
     "|>assistant\n"},
    {"smollm2",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"}},
     "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Huggi"
     "ng Face<|im_end|>\n<|im_start|>user\n  What is 2+2\? "
     "<|im_end|>\343\200\200\n<|im_end|>\n<|im_"
     "start|>user\n  What is 2+2\? <|im_end|>\343\200\200\n<|im_end|>\n<|im_start|>assistant\n"},
    {"smollm2",
     {{"assistant", "first"}, {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"}},
     "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Huggi"
     "ng Face<|im_end|>\n<|im_start|>assistant\nfirst<|im_end|>\n<|im_start|>user\n  What "
     "is 2+2\? <|im_end|>\343\200\200\n<|im_end|>\n<|im_start|>assistant\n"},
    {"qwen1.5",
     {{"user", "Hi"}},
     "<|im_start|>system\nYou are a helpful assistant<|im_end|>\n<|im_start|>user\nHi<|im"
     "_end|>\n<|im_start|>assistant\n"},
    {"qwen1.5",
     {{"system", " Be brief.\n"}, {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"}},
     "<|im_start|>system\n Be brief.\n<|im_end|>\n<|im_start|>user\n  What is 2+2\? <|im_en"
     "d|>\343\200\200\n<|im_end|>\n<|im_start|>assistant\n"},
    {"qwen1.5",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"user", "\303\234berpr\303\274fe\011das\037"}},
     "<|im_start|>system\nYou are a helpful assistant<|im_end|>\n<|im_start|>user\n  What"
     " is 2+2\? "
     "<|im_end|>\343\200\200\n<|im_end|>\n<|im_start|>assistant\n<think>\n\nsum\n</think>\n\n "
     "4. "
     "<|im_end|>\n<|im_start|>user\n\303\234berpr\303\274fe\011das\037<|im_end|>\n<|im_start|>"
     "assistant\n"},
    {"qwen1.5",
     {{"system", " Be brief.\n"},
      {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"user", "\303\234berpr\303\274fe\011das\037"}},
     "<|im_start|>system\n Be brief.\n<|im_end|>\n<|im_start|>user\n  What is 2+2\? <|im_en"
     "d|>\343\200\200\n<|im_end|>\n<|im_start|>assistant\n<think>\n\nsum\n</think>\n\n 4. "
     "<|im_end|>\n<|"
     "im_start|>user\n\303\234berpr\303\274fe\011das\037<|im_end|>\n<|im_start|>assistant\n"},
    {"qwen1.5",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "plain"},
      {"user", "\303\234berpr\303\274fe\011das\037"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"user", " \n "}},
     "<|im_start|>system\nYou are a helpful assistant<|im_end|>\n<|im_start|>user\n  What"
     " is 2+2\? "
     "<|im_end|>\343\200\200\n<|im_end|>\n<|im_start|>assistant\nplain<|im_end|>\n<|im_sta"
     "rt|>user\n\303\234berpr\303\274fe\011das\037<|im_end|>\n<|im_start|>assistant\n<think>"
     "\n\nsum\n</think>\n"
     "\n 4. <|im_end|>\n<|im_start|>user\n \n <|im_end|>\n<|im_start|>assistant\n"},
    {"qwen1.5",
     {{"system", " Be brief.\n"}, {"user", "\n"}},
     "<|im_start|>system\n Be brief.\n<|im_end|>\n<|im_start|>user\n\n<|im_end|>\n<|im_start"
     "|>assistant\n"},
    {"qwen1.5",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"}},
     "<|im_start|>system\nYou are a helpful assistant<|im_end|>\n<|im_start|>user\n  What"
     " is 2+2\? <|im_end|>\343\200\200\n<|im_end|>\n<|im_start|>user\n  What is 2+2\? "
     "<|im_end|>\343\200\200\n"
     "<|im_end|>\n<|im_start|>assistant\n"},
    {"qwen1.5",
     {{"assistant", "first"}, {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"}},
     "<|im_start|>system\nYou are a helpful assistant<|im_end|>\n<|im_start|>assistant\nf"
     "irst<|im_end|>\n<|im_start|>user\n  What is 2+2\? "
     "<|im_end|>\343\200\200\n<|im_end|>\n<|im_sta"
     "rt|>assistant\n"},
    {"qwen2",
     {{"user", "Hi"}},
     "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\nHi<|i"
     "m_end|>\n<|im_start|>assistant\n"},
    {"qwen2",
     {{"system", " Be brief.\n"}, {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"}},
     "<|im_start|>system\n Be brief.\n<|im_end|>\n<|im_start|>user\n  What is 2+2\? <|im_en"
     "d|>\343\200\200\n<|im_end|>\n<|im_start|>assistant\n"},
    {"qwen2",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"user", "\303\234berpr\303\274fe\011das\037"}},
     "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n  Wha"
     "t is 2+2\? "
     "<|im_end|>\343\200\200\n<|im_end|>\n<|im_start|>assistant\n<think>\n\nsum\n</think>\n\n"
     " 4. "
     "<|im_end|>\n<|im_start|>user\n\303\234berpr\303\274fe\011das\037<|im_end|>\n<|im_start|>"
     "assistant"
     "\n"},
    {"qwen2",
     {{"system", " Be brief.\n"},
      {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"user", "\303\234berpr\303\274fe\011das\037"}},
     "<|im_start|>system\n Be brief.\n<|im_end|>\n<|im_start|>user\n  What is 2+2\? <|im_en"
     "d|>\343\200\200\n<|im_end|>\n<|im_start|>assistant\n<think>\n\nsum\n</think>\n\n 4. "
     "<|im_end|>\n<|"
     "im_start|>user\n\303\234berpr\303\274fe\011das\037<|im_end|>\n<|im_start|>assistant\n"},
    {"qwen2",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "plain"},
      {"user", "\303\234berpr\303\274fe\011das\037"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"user", " \n "}},
     "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n  Wha"
     "t is 2+2\? "
     "<|im_end|>\343\200\200\n<|im_end|>\n<|im_start|>assistant\nplain<|im_end|>\n<|im_st"
     "art|>user\n\303\234berpr\303\274fe\011das\037<|im_end|>\n<|im_start|>assistant\n<think>"
     "\n\nsum\n</think>"
     "\n\n 4. <|im_end|>\n<|im_start|>user\n \n <|im_end|>\n<|im_start|>assistant\n"},
    {"qwen2",
     {{"system", " Be brief.\n"}, {"user", "\n"}},
     "<|im_start|>system\n Be brief.\n<|im_end|>\n<|im_start|>user\n\n<|im_end|>\n<|im_start"
     "|>assistant\n"},
    {"qwen2",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"}},
     "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n  Wha"
     "t is 2+2\? <|im_end|>\343\200\200\n<|im_end|>\n<|im_start|>user\n  What is 2+2\? "
     "<|im_end|>\343\200\200"
     "\n<|im_end|>\n<|im_start|>assistant\n"},
    {"qwen2",
     {{"assistant", "first"}, {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"}},
     "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>assistant\n"
     "first<|im_end|>\n<|im_start|>user\n  What is 2+2\? "
     "<|im_end|>\343\200\200\n<|im_end|>\n<|im_st"
     "art|>assistant\n"},
    {"qwen2.5",
     {{"user", "Hi"}},
     "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful ass"
     "istant.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"},
    {"qwen2.5",
     {{"system", " Be brief.\n"}, {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"}},
     "<|im_start|>system\n Be brief.\n<|im_end|>\n<|im_start|>user\n  What is 2+2\? <|im_en"
     "d|>\343\200\200\n<|im_end|>\n<|im_start|>assistant\n"},
    {"qwen2.5",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"user", "\303\234berpr\303\274fe\011das\037"}},
     "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful ass"
     "istant.<|im_end|>\n<|im_start|>user\n  What is 2+2\? "
     "<|im_end|>\343\200\200\n<|im_end|>\n<|im_"
     "start|>assistant\n<think>\n\nsum\n</think>\n\n 4. "
     "<|im_end|>\n<|im_start|>user\n\303\234berpr\303"
     "\274fe\011das\037<|im_end|>\n<|im_start|>assistant\n"},
    {"qwen2.5",
     {{"system", " Be brief.\n"},
      {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"user", "\303\234berpr\303\274fe\011das\037"}},
     "<|im_start|>system\n Be brief.\n<|im_end|>\n<|im_start|>user\n  What is 2+2\? <|im_en"
     "d|>\343\200\200\n<|im_end|>\n<|im_start|>assistant\n<think>\n\nsum\n</think>\n\n 4. "
     "<|im_end|>\n<|"
     "im_start|>user\n\303\234berpr\303\274fe\011das\037<|im_end|>\n<|im_start|>assistant\n"},
    {"qwen2.5",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "plain"},
      {"user", "\303\234berpr\303\274fe\011das\037"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"user", " \n "}},
     "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful ass"
     "istant.<|im_end|>\n<|im_start|>user\n  What is 2+2\? "
     "<|im_end|>\343\200\200\n<|im_end|>\n<|im_"
     "start|>assistant\nplain<|im_end|>\n<|im_start|>user\n\303\234berpr\303\274fe\011das\037<|im_"
     "end|>\n<|i"
     "m_start|>assistant\n<think>\n\nsum\n</think>\n\n 4. <|im_end|>\n<|im_start|>user\n \n <|i"
     "m_end|>\n<|im_start|>assistant\n"},
    {"qwen2.5",
     {{"system", " Be brief.\n"}, {"user", "\n"}},
     "<|im_start|>system\n Be brief.\n<|im_end|>\n<|im_start|>user\n\n<|im_end|>\n<|im_start"
     "|>assistant\n"},
    {"qwen2.5",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"}},
     "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful ass"
     "istant.<|im_end|>\n<|im_start|>user\n  What is 2+2\? "
     "<|im_end|>\343\200\200\n<|im_end|>\n<|im_"
     "start|>user\n  What is 2+2\? <|im_end|>\343\200\200\n<|im_end|>\n<|im_start|>assistant\n"},
    {"qwen2.5",
     {{"assistant", "first"}, {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"}},
     "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful ass"
     "istant.<|im_end|>\n<|im_start|>assistant\nfirst<|im_end|>\n<|im_start|>user\n  What "
     "is 2+2\? <|im_end|>\343\200\200\n<|im_end|>\n<|im_start|>assistant\n"},
    {"qwen2.5",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"tool", "4"},
      {"tool", "5"},
      {"assistant", "ok"},
      {"user", "\303\234berpr\303\274fe\011das\037"}},
     "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful ass"
     "istant.<|im_end|>\n<|im_start|>user\n  What is 2+2\? "
     "<|im_end|>\343\200\200\n<|im_end|>\n<|im_"
     "start|>assistant\n<think>\n\nsum\n</think>\n\n 4. <|im_end|>\n<|im_start|>user\n<tool_re"
     "sponse>\n4\n</tool_response>\n<tool_response>\n5\n</tool_response><|im_end|>\n<|im_sta"
     "rt|>assistant\nok<|im_end|>\n<|im_start|>user\n\303\234berpr\303\274fe\011das\037<|im_end|>"
     "\n<|im_star"
     "t|>assistant\n"},
    {"qwen2.5",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"tool", "4"}},
     "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful ass"
     "istant.<|im_end|>\n<|im_start|>user\n  What is 2+2\? "
     "<|im_end|>\343\200\200\n<|im_end|>\n<|im_"
     "start|>assistant\n<think>\n\nsum\n</think>\n\n 4. <|im_end|>\n<|im_start|>user\n<tool_re"
     "sponse>\n4\n</tool_response><|im_end|>\n<|im_start|>assistant\n"},
    {"qwen2.5",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "call"},
      {"tool", "4"},
      {"assistant", "<think>t</think>x"},
      {"tool", "5"}},
     "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful ass"
     "istant.<|im_end|>\n<|im_start|>user\n  What is 2+2\? "
     "<|im_end|>\343\200\200\n<|im_end|>\n<|im_"
     "start|>assistant\ncall<|im_end|>\n<|im_start|>user\n<tool_response>\n4\n</tool_respon"
     "se><|im_end|>\n<|im_start|>assistant\n<think>t</think>x<|im_end|>\n<|im_start|>user"
     "\n<tool_response>\n5\n</tool_response><|im_end|>\n<|im_start|>assistant\n"},
    {"qwen2.5",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "}},
     "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful ass"
     "istant.<|im_end|>\n<|im_start|>user\n  What is 2+2\? "
     "<|im_end|>\343\200\200\n<|im_end|>\n<|im_"
     "start|>assistant\n<think>\n\nsum\n</think>\n\n 4. <|im_end|>\n<|im_start|>assistant\n"},
    {"qwen2.5",
     {{"user", "<tool_response>x</tool_response>"}, {"assistant", "y</think>z"}},
     "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful ass"
     "istant.<|im_end|>\n<|im_start|>user\n<tool_response>x</tool_response><|im_end|>\n<|"
     "im_start|>assistant\ny</think>z<|im_end|>\n<|im_start|>assistant\n"},
    {"qwen2.5-math",
     {{"user", "Hi"}},
     "<|im_start|>system\nPlease reason step by step, and put your final answer within "
     "\\boxed{}.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"},
    {"qwen2.5-math",
     {{"system", " Be brief.\n"}, {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"}},
     "<|im_start|>system\n Be brief.\n<|im_end|>\n<|im_start|>user\n  What is 2+2\? <|im_en"
     "d|>\343\200\200\n<|im_end|>\n<|im_start|>assistant\n"},
    {"qwen2.5-math",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"user", "\303\234berpr\303\274fe\011das\037"}},
     "<|im_start|>system\nPlease reason step by step, and put your final answer within "
     "\\boxed{}.<|im_end|>\n<|im_start|>user\n  What is 2+2\? "
     "<|im_end|>\343\200\200\n<|im_end|>\n<|i"
     "m_start|>assistant\n<think>\n\nsum\n</think>\n\n 4. "
     "<|im_end|>\n<|im_start|>user\n\303\234berp"
     "r\303\274fe\011das\037<|im_end|>\n<|im_start|>assistant\n"},
    {"qwen2.5-math",
     {{"system", " Be brief.\n"},
      {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"user", "\303\234berpr\303\274fe\011das\037"}},
     "<|im_start|>system\n Be brief.\n<|im_end|>\n<|im_start|>user\n  What is 2+2\? <|im_en"
     "d|>\343\200\200\n<|im_end|>\n<|im_start|>assistant\n<think>\n\nsum\n</think>\n\n 4. "
     "<|im_end|>\n<|"
     "im_start|>user\n\303\234berpr\303\274fe\011das\037<|im_end|>\n<|im_start|>assistant\n"},
    {"qwen2.5-math",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "plain"},
      {"user", "\303\234berpr\303\274fe\011das\037"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"user", " \n "}},
     "<|im_start|>system\nPlease reason step by step, and put your final answer within "
     "\\boxed{}.<|im_end|>\n<|im_start|>user\n  What is 2+2\? "
     "<|im_end|>\343\200\200\n<|im_end|>\n<|i"
     "m_start|>assistant\nplain<|im_end|>\n<|im_start|>user\n\303\234berpr\303\274fe\011das\037<|"
     "im_end|>\n<"
     "|im_start|>assistant\n<think>\n\nsum\n</think>\n\n 4. <|im_end|>\n<|im_start|>user\n \n <"
     "|im_end|>\n<|im_start|>assistant\n"},
    {"qwen2.5-math",
     {{"system", " Be brief.\n"}, {"user", "\n"}},
     "<|im_start|>system\n Be brief.\n<|im_end|>\n<|im_start|>user\n\n<|im_end|>\n<|im_start"
     "|>assistant\n"},
    {"qwen2.5-math",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"}},
     "<|im_start|>system\nPlease reason step by step, and put your final answer within "
     "\\boxed{}.<|im_end|>\n<|im_start|>user\n  What is 2+2\? "
     "<|im_end|>\343\200\200\n<|im_end|>\n<|i"
     "m_start|>user\n  What is 2+2\? <|im_end|>\343\200\200\n<|im_end|>\n<|im_start|>assistant\n"},
    {"qwen2.5-math",
     {{"assistant", "first"}, {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"}},
     "<|im_start|>system\nPlease reason step by step, and put your final answer within "
     "\\boxed{}.<|im_end|>\n<|im_start|>assistant\nfirst<|im_end|>\n<|im_start|>user\n  Wha"
     "t is 2+2\? <|im_end|>\343\200\200\n<|im_end|>\n<|im_start|>assistant\n"},
    {"qwen2.5-math",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"tool", "4"},
      {"tool", "5"},
      {"assistant", "ok"},
      {"user", "\303\234berpr\303\274fe\011das\037"}},
     "<|im_start|>system\nPlease reason step by step, and put your final answer within "
     "\\boxed{}.<|im_end|>\n<|im_start|>user\n  What is 2+2\? "
     "<|im_end|>\343\200\200\n<|im_end|>\n<|i"
     "m_start|>assistant\n<think>\n\nsum\n</think>\n\n 4. <|im_end|>\n<|im_start|>user\n<tool_"
     "response>\n4\n</tool_response>\n<tool_response>\n5\n</tool_response><|im_end|>\n<|im_s"
     "tart|>assistant\nok<|im_end|>\n<|im_start|>user\n\303\234berpr\303\274fe\011das\037<|im_end|>"
     "\n<|im_st"
     "art|>assistant\n"},
    {"qwen2.5-math",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"tool", "4"}},
     "<|im_start|>system\nPlease reason step by step, and put your final answer within "
     "\\boxed{}.<|im_end|>\n<|im_start|>user\n  What is 2+2\? "
     "<|im_end|>\343\200\200\n<|im_end|>\n<|i"
     "m_start|>assistant\n<think>\n\nsum\n</think>\n\n 4. <|im_end|>\n<|im_start|>user\n<tool_"
     "response>\n4\n</tool_response><|im_end|>\n<|im_start|>assistant\n"},
    {"qwen2.5-math",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "call"},
      {"tool", "4"},
      {"assistant", "<think>t</think>x"},
      {"tool", "5"}},
     "<|im_start|>system\nPlease reason step by step, and put your final answer within "
     "\\boxed{}.<|im_end|>\n<|im_start|>user\n  What is 2+2\? "
     "<|im_end|>\343\200\200\n<|im_end|>\n<|i"
     "m_start|>assistant\ncall<|im_end|>\n<|im_start|>user\n<tool_response>\n4\n</tool_resp"
     "onse><|im_end|>\n<|im_start|>assistant\n<think>t</think>x<|im_end|>\n<|im_start|>us"
     "er\n<tool_response>\n5\n</tool_response><|im_end|>\n<|im_start|>assistant\n"},
    {"qwen2.5-math",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "}},
     "<|im_start|>system\nPlease reason step by step, and put your final answer within "
     "\\boxed{}.<|im_end|>\n<|im_start|>user\n  What is 2+2\? "
     "<|im_end|>\343\200\200\n<|im_end|>\n<|i"
     "m_start|>assistant\n<think>\n\nsum\n</think>\n\n 4. <|im_end|>\n<|im_start|>assistant\n"},
    {"qwen2.5-math",
     {{"user", "<tool_response>x</tool_response>"}, {"assistant", "y</think>z"}},
     "<|im_start|>system\nPlease reason step by step, and put your final answer within "
     "\\boxed{}.<|im_end|>\n<|im_start|>user\n<tool_response>x</tool_response><|im_end|>\n"
     "<|im_start|>assistant\ny</think>z<|im_end|>\n<|im_start|>assistant\n"},
    {"qwen3-instruct", {{"user", "Hi"}}, "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"},
    {"qwen3-instruct",
     {{"system", " Be brief.\n"}, {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"}},
     "<|im_start|>system\n Be brief.\n<|im_end|>\n<|im_start|>user\n  What is 2+2\? <|im_en"
     "d|>\343\200\200\n<|im_end|>\n<|im_start|>assistant\n"},
    {"qwen3-instruct",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"user", "\303\234berpr\303\274fe\011das\037"}},
     "<|im_start|>user\n  What is 2+2\? "
     "<|im_end|>\343\200\200\n<|im_end|>\n<|im_start|>assistant\n<"
     "think>\n\nsum\n</think>\n\n 4. "
     "<|im_end|>\n<|im_start|>user\n\303\234berpr\303\274fe\011das\037<|im_end|>"
     "\n<|im_start|>assistant\n"},
    {"qwen3-instruct",
     {{"system", " Be brief.\n"},
      {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"user", "\303\234berpr\303\274fe\011das\037"}},
     "<|im_start|>system\n Be brief.\n<|im_end|>\n<|im_start|>user\n  What is 2+2\? <|im_en"
     "d|>\343\200\200\n<|im_end|>\n<|im_start|>assistant\n<think>\n\nsum\n</think>\n\n 4. "
     "<|im_end|>\n<|"
     "im_start|>user\n\303\234berpr\303\274fe\011das\037<|im_end|>\n<|im_start|>assistant\n"},
    {"qwen3-instruct",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "plain"},
      {"user", "\303\234berpr\303\274fe\011das\037"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"user", " \n "}},
     "<|im_start|>user\n  What is 2+2\? "
     "<|im_end|>\343\200\200\n<|im_end|>\n<|im_start|>assistant\np"
     "lain<|im_end|>\n<|im_start|>user\n\303\234berpr\303\274fe\011das\037<|im_end|>\n<|im_start|>"
     "assistant"
     "\n<think>\n\nsum\n</think>\n\n 4. <|im_end|>\n<|im_start|>user\n \n <|im_end|>\n<|im_start"
     "|>assistant\n"},
    {"qwen3-instruct",
     {{"system", " Be brief.\n"}, {"user", "\n"}},
     "<|im_start|>system\n Be brief.\n<|im_end|>\n<|im_start|>user\n\n<|im_end|>\n<|im_start"
     "|>assistant\n"},
    {"qwen3-instruct",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"}},
     "<|im_start|>user\n  What is 2+2\? <|im_end|>\343\200\200\n<|im_end|>\n<|im_start|>user\n  "
     "What"
     " is 2+2\? <|im_end|>\343\200\200\n<|im_end|>\n<|im_start|>assistant\n"},
    {"qwen3-instruct",
     {{"assistant", "first"}, {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"}},
     "<|im_start|>assistant\nfirst<|im_end|>\n<|im_start|>user\n  What is 2+2\? <|im_end|>"
     "\343\200\200\n<|im_end|>\n<|im_start|>assistant\n"},
    {"qwen3-instruct",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"tool", "4"},
      {"tool", "5"},
      {"assistant", "ok"},
      {"user", "\303\234berpr\303\274fe\011das\037"}},
     "<|im_start|>user\n  What is 2+2\? "
     "<|im_end|>\343\200\200\n<|im_end|>\n<|im_start|>assistant\n<"
     "think>\n\nsum\n</think>\n\n 4. <|im_end|>\n<|im_start|>user\n<tool_response>\n4\n</tool_r"
     "esponse>\n<tool_response>\n5\n</tool_response><|im_end|>\n<|im_start|>assistant\nok<|"
     "im_end|>\n<|im_start|>user\n\303\234berpr\303\274fe\011das\037<|im_end|>\n<|im_start|>"
     "assistant\n"},
    {"qwen3-instruct",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"tool", "4"}},
     "<|im_start|>user\n  What is 2+2\? "
     "<|im_end|>\343\200\200\n<|im_end|>\n<|im_start|>assistant\n<"
     "think>\n\nsum\n</think>\n\n 4. <|im_end|>\n<|im_start|>user\n<tool_response>\n4\n</tool_r"
     "esponse><|im_end|>\n<|im_start|>assistant\n"},
    {"qwen3-instruct",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "call"},
      {"tool", "4"},
      {"assistant", "<think>t</think>x"},
      {"tool", "5"}},
     "<|im_start|>user\n  What is 2+2\? "
     "<|im_end|>\343\200\200\n<|im_end|>\n<|im_start|>assistant\nc"
     "all<|im_end|>\n<|im_start|>user\n<tool_response>\n4\n</tool_response><|im_end|>\n<|im"
     "_start|>assistant\n<think>t</think>x<|im_end|>\n<|im_start|>user\n<tool_response>\n5"
     "\n</tool_response><|im_end|>\n<|im_start|>assistant\n"},
    {"qwen3-instruct",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "}},
     "<|im_start|>user\n  What is 2+2\? "
     "<|im_end|>\343\200\200\n<|im_end|>\n<|im_start|>assistant\n<"
     "think>\n\nsum\n</think>\n\n 4. <|im_end|>\n<|im_start|>assistant\n"},
    {"qwen3-instruct",
     {{"user", "<tool_response>x</tool_response>"}, {"assistant", "y</think>z"}},
     "<|im_start|>user\n<tool_response>x</tool_response><|im_end|>\n<|im_start|>assistan"
     "t\ny</think>z<|im_end|>\n<|im_start|>assistant\n"},
    {"qwen3", {{"user", "Hi"}}, "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"},
    {"qwen3",
     {{"system", " Be brief.\n"}, {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"}},
     "<|im_start|>system\n Be brief.\n<|im_end|>\n<|im_start|>user\n  What is 2+2\? <|im_en"
     "d|>\343\200\200\n<|im_end|>\n<|im_start|>assistant\n"},
    {"qwen3",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"user", "\303\234berpr\303\274fe\011das\037"}},
     "<|im_start|>user\n  What is 2+2\? "
     "<|im_end|>\343\200\200\n<|im_end|>\n<|im_start|>assistant\n "
     "4. "
     "<|im_end|>\n<|im_start|>user\n\303\234berpr\303\274fe\011das\037<|im_end|>\n<|im_start|>"
     "assistant\n"},
    {"qwen3",
     {{"system", " Be brief.\n"},
      {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"user", "\303\234berpr\303\274fe\011das\037"}},
     "<|im_start|>system\n Be brief.\n<|im_end|>\n<|im_start|>user\n  What is 2+2\? <|im_en"
     "d|>\343\200\200\n<|im_end|>\n<|im_start|>assistant\n 4. "
     "<|im_end|>\n<|im_start|>user\n\303\234berpr\303"
     "\274fe\011das\037<|im_end|>\n<|im_start|>assistant\n"},
    {"qwen3",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "plain"},
      {"user", "\303\234berpr\303\274fe\011das\037"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"user", " \n "}},
     "<|im_start|>user\n  What is 2+2\? "
     "<|im_end|>\343\200\200\n<|im_end|>\n<|im_start|>assistant\np"
     "lain<|im_end|>\n<|im_start|>user\n\303\234berpr\303\274fe\011das\037<|im_end|>\n<|im_start|>"
     "assistant"
     "\n 4. <|im_end|>\n<|im_start|>user\n \n <|im_end|>\n<|im_start|>assistant\n"},
    {"qwen3",
     {{"system", " Be brief.\n"}, {"user", "\n"}},
     "<|im_start|>system\n Be brief.\n<|im_end|>\n<|im_start|>user\n\n<|im_end|>\n<|im_start"
     "|>assistant\n"},
    {"qwen3",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"}},
     "<|im_start|>user\n  What is 2+2\? <|im_end|>\343\200\200\n<|im_end|>\n<|im_start|>user\n  "
     "What"
     " is 2+2\? <|im_end|>\343\200\200\n<|im_end|>\n<|im_start|>assistant\n"},
    {"qwen3",
     {{"assistant", "first"}, {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"}},
     "<|im_start|>assistant\nfirst<|im_end|>\n<|im_start|>user\n  What is 2+2\? <|im_end|>"
     "\343\200\200\n<|im_end|>\n<|im_start|>assistant\n"},
    {"qwen3",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"tool", "4"},
      {"tool", "5"},
      {"assistant", "ok"},
      {"user", "\303\234berpr\303\274fe\011das\037"}},
     "<|im_start|>user\n  What is 2+2\? "
     "<|im_end|>\343\200\200\n<|im_end|>\n<|im_start|>assistant\n "
     "4. <|im_end|>\n<|im_start|>user\n<tool_response>\n4\n</tool_response>\n<tool_response"
     ">\n5\n</tool_response><|im_end|>\n<|im_start|>assistant\nok<|im_end|>\n<|im_start|>us"
     "er\n\303\234berpr\303\274fe\011das\037<|im_end|>\n<|im_start|>assistant\n"},
    {"qwen3",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"tool", "4"}},
     "<|im_start|>user\n  What is 2+2\? "
     "<|im_end|>\343\200\200\n<|im_end|>\n<|im_start|>assistant\n<"
     "think>\nsum\n</think>\n\n 4. <|im_end|>\n<|im_start|>user\n<tool_response>\n4\n</tool_re"
     "sponse><|im_end|>\n<|im_start|>assistant\n"},
    {"qwen3",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "call"},
      {"tool", "4"},
      {"assistant", "<think>t</think>x"},
      {"tool", "5"}},
     "<|im_start|>user\n  What is 2+2\? "
     "<|im_end|>\343\200\200\n<|im_end|>\n<|im_start|>assistant\nc"
     "all<|im_end|>\n<|im_start|>user\n<tool_response>\n4\n</tool_response><|im_end|>\n<|im"
     "_start|>assistant\n<think>\nt\n</think>\n\nx<|im_end|>\n<|im_start|>user\n<tool_respons"
     "e>\n5\n</tool_response><|im_end|>\n<|im_start|>assistant\n"},
    {"qwen3",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "}},
     "<|im_start|>user\n  What is 2+2\? "
     "<|im_end|>\343\200\200\n<|im_end|>\n<|im_start|>assistant\n<"
     "think>\nsum\n</think>\n\n 4. <|im_end|>\n<|im_start|>assistant\n"},
    {"qwen3",
     {{"user", "<tool_response>x</tool_response>"}, {"assistant", "y</think>z"}},
     "<|im_start|>user\n<tool_response>x</tool_response><|im_end|>\n<|im_start|>assistan"
     "t\nz<|im_end|>\n<|im_start|>assistant\n"},
    {"qwen3-thinking",
     {{"user", "Hi"}},
     "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n<think>\n"},
    {"qwen3-thinking",
     {{"system", " Be brief.\n"}, {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"}},
     "<|im_start|>system\n Be brief.\n<|im_end|>\n<|im_start|>user\n  What is 2+2\? <|im_en"
     "d|>\343\200\200\n<|im_end|>\n<|im_start|>assistant\n<think>\n"},
    {"qwen3-thinking",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"user", "\303\234berpr\303\274fe\011das\037"}},
     "<|im_start|>user\n  What is 2+2\? "
     "<|im_end|>\343\200\200\n<|im_end|>\n<|im_start|>assistant\n "
     "4. "
     "<|im_end|>\n<|im_start|>user\n\303\234berpr\303\274fe\011das\037<|im_end|>\n<|im_start|>"
     "assistant\n"
     "<think>\n"},
    {"qwen3-thinking",
     {{"system", " Be brief.\n"},
      {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"user", "\303\234berpr\303\274fe\011das\037"}},
     "<|im_start|>system\n Be brief.\n<|im_end|>\n<|im_start|>user\n  What is 2+2\? <|im_en"
     "d|>\343\200\200\n<|im_end|>\n<|im_start|>assistant\n 4. "
     "<|im_end|>\n<|im_start|>user\n\303\234berpr\303"
     "\274fe\011das\037<|im_end|>\n<|im_start|>assistant\n<think>\n"},
    {"qwen3-thinking",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "plain"},
      {"user", "\303\234berpr\303\274fe\011das\037"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"user", " \n "}},
     "<|im_start|>user\n  What is 2+2\? "
     "<|im_end|>\343\200\200\n<|im_end|>\n<|im_start|>assistant\np"
     "lain<|im_end|>\n<|im_start|>user\n\303\234berpr\303\274fe\011das\037<|im_end|>\n<|im_start|>"
     "assistant"
     "\n 4. <|im_end|>\n<|im_start|>user\n \n <|im_end|>\n<|im_start|>assistant\n<think>\n"},
    {"qwen3-thinking",
     {{"system", " Be brief.\n"}, {"user", "\n"}},
     "<|im_start|>system\n Be brief.\n<|im_end|>\n<|im_start|>user\n\n<|im_end|>\n<|im_start"
     "|>assistant\n<think>\n"},
    {"qwen3-thinking",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"}},
     "<|im_start|>user\n  What is 2+2\? <|im_end|>\343\200\200\n<|im_end|>\n<|im_start|>user\n  "
     "What"
     " is 2+2\? <|im_end|>\343\200\200\n<|im_end|>\n<|im_start|>assistant\n<think>\n"},
    {"qwen3-thinking",
     {{"assistant", "first"}, {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"}},
     "<|im_start|>assistant\nfirst<|im_end|>\n<|im_start|>user\n  What is 2+2\? <|im_end|>"
     "\343\200\200\n<|im_end|>\n<|im_start|>assistant\n<think>\n"},
    {"qwen3-thinking",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"tool", "4"},
      {"tool", "5"},
      {"assistant", "ok"},
      {"user", "\303\234berpr\303\274fe\011das\037"}},
     "<|im_start|>user\n  What is 2+2\? "
     "<|im_end|>\343\200\200\n<|im_end|>\n<|im_start|>assistant\n "
     "4. <|im_end|>\n<|im_start|>user\n<tool_response>\n4\n</tool_response>\n<tool_response"
     ">\n5\n</tool_response><|im_end|>\n<|im_start|>assistant\nok<|im_end|>\n<|im_start|>us"
     "er\n\303\234berpr\303\274fe\011das\037<|im_end|>\n<|im_start|>assistant\n<think>\n"},
    {"qwen3-thinking",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"tool", "4"}},
     "<|im_start|>user\n  What is 2+2\? "
     "<|im_end|>\343\200\200\n<|im_end|>\n<|im_start|>assistant\n<"
     "think>\nsum\n</think>\n\n 4. <|im_end|>\n<|im_start|>user\n<tool_response>\n4\n</tool_re"
     "sponse><|im_end|>\n<|im_start|>assistant\n<think>\n"},
    {"qwen3-thinking",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "call"},
      {"tool", "4"},
      {"assistant", "<think>t</think>x"},
      {"tool", "5"}},
     "<|im_start|>user\n  What is 2+2\? "
     "<|im_end|>\343\200\200\n<|im_end|>\n<|im_start|>assistant\nc"
     "all<|im_end|>\n<|im_start|>user\n<tool_response>\n4\n</tool_response><|im_end|>\n<|im"
     "_start|>assistant\n<think>\nt\n</think>\n\nx<|im_end|>\n<|im_start|>user\n<tool_respons"
     "e>\n5\n</tool_response><|im_end|>\n<|im_start|>assistant\n<think>\n"},
    {"qwen3-thinking",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "}},
     "<|im_start|>user\n  What is 2+2\? "
     "<|im_end|>\343\200\200\n<|im_end|>\n<|im_start|>assistant\n<"
     "think>\nsum\n</think>\n\n 4. <|im_end|>\n<|im_start|>assistant\n<think>\n"},
    {"qwen3-thinking",
     {{"user", "<tool_response>x</tool_response>"}, {"assistant", "y</think>z"}},
     "<|im_start|>user\n<tool_response>x</tool_response><|im_end|>\n<|im_start|>assistan"
     "t\nz<|im_end|>\n<|im_start|>assistant\n<think>\n"},
    {"phi4",
     {{"user", "Hi"}},
     "<|im_start|>user<|im_sep|>Hi<|im_end|><|im_start|>assistant<|im_sep|>"},
    {"phi4",
     {{"system", " Be brief.\n"}, {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"}},
     "<|im_start|>system<|im_sep|> Be brief.\n<|im_end|><|im_start|>user<|im_sep|>  Wha"
     "t is 2+2\? <|im_end|>\343\200\200\n<|im_end|><|im_start|>assistant<|im_sep|>"},
    {"phi4",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"user", "\303\234berpr\303\274fe\011das\037"}},
     "<|im_start|>user<|im_sep|>  What is 2+2\? <|im_end|>\343\200\200\n<|im_end|><|im_start|>ass"
     "istant<|im_sep|><think>\n\nsum\n</think>\n\n 4. <|im_end|><|im_start|>user<|im_sep|>\303"
     "\234berpr\303\274fe\011das\037<|im_end|><|im_start|>assistant<|im_sep|>"},
    {"phi4",
     {{"system", " Be brief.\n"},
      {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"user", "\303\234berpr\303\274fe\011das\037"}},
     "<|im_start|>system<|im_sep|> Be brief.\n<|im_end|><|im_start|>user<|im_sep|>  Wha"
     "t is 2+2\? "
     "<|im_end|>\343\200\200\n<|im_end|><|im_start|>assistant<|im_sep|><think>\n\nsum\n</"
     "think>\n\n 4. "
     "<|im_end|><|im_start|>user<|im_sep|>\303\234berpr\303\274fe\011das\037<|im_end|><|im_s"
     "tart|>assistant<|im_sep|>"},
    {"phi4",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "plain"},
      {"user", "\303\234berpr\303\274fe\011das\037"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"user", " \n "}},
     "<|im_start|>user<|im_sep|>  What is 2+2\? <|im_end|>\343\200\200\n<|im_end|><|im_start|>ass"
     "istant<|im_sep|>plain<|im_end|><|im_start|>user<|im_sep|>\303\234berpr\303\274fe\011das\037<|"
     "im_en"
     "d|><|im_start|>assistant<|im_sep|><think>\n\nsum\n</think>\n\n 4. <|im_end|><|im_star"
     "t|>user<|im_sep|> \n <|im_end|><|im_start|>assistant<|im_sep|>"},
    {"phi4",
     {{"system", " Be brief.\n"}, {"user", "\n"}},
     "<|im_start|>system<|im_sep|> Be brief.\n<|im_end|><|im_start|>user<|im_sep|>\n<|im"
     "_end|><|im_start|>assistant<|im_sep|>"},
    {"phi4",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"}},
     "<|im_start|>user<|im_sep|>  What is 2+2\? <|im_end|>\343\200\200\n<|im_end|><|im_start|>use"
     "r<|im_sep|>  What is 2+2\? <|im_end|>\343\200\200\n<|im_end|><|im_start|>assistant<|im_sep|"
     ">"},
    {"phi4",
     {{"assistant", "first"}, {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"}},
     "<|im_start|>assistant<|im_sep|>first<|im_end|><|im_start|>user<|im_sep|>  What i"
     "s 2+2\? <|im_end|>\343\200\200\n<|im_end|><|im_start|>assistant<|im_sep|>"},
    {"llama2", {{"user", "Hi"}}, "<s>[INST] Hi [/INST]"},
    {"llama2",
     {{"system", " Be brief.\n"}, {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"}},
     "<s>[INST] <<SYS>>\n Be brief.\n\n<</SYS>>\n\n  What is 2+2\? <|im_end|> [/INST]"},
    {"llama2",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"user", "\303\234berpr\303\274fe\011das\037"}},
     "<s>[INST] What is 2+2\? <|im_end|> [/INST] <think>\n\nsum\n</think>\n\n 4. </s><s>[INS"
     "T] \303\234berpr\303\274fe\011das [/INST]"},
    {"llama2",
     {{"system", " Be brief.\n"},
      {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"user", "\303\234berpr\303\274fe\011das\037"}},
     "<s>[INST] <<SYS>>\n Be brief.\n\n<</SYS>>\n\n  What is 2+2\? <|im_end|> [/INST] <think"
     ">\n\nsum\n</think>\n\n 4. </s><s>[INST] \303\234berpr\303\274fe\011das [/INST]"},
    {"llama2",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "plain"},
      {"user", "\303\234berpr\303\274fe\011das\037"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"user", " \n "}},
     "<s>[INST] What is 2+2\? <|im_end|> [/INST] plain </s><s>[INST] "
     "\303\234berpr\303\274fe\011das [/"
     "INST] <think>\n\nsum\n</think>\n\n 4. </s><s>[INST]  [/INST]"},
    {"llama2",
     {{"system", " Be brief.\n"}, {"user", "\n"}},
     "<s>[INST] <<SYS>>\n Be brief.\n\n<</SYS>> [/INST]"},
    {"llama2",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"}},
     NULL},
    {"llama2",
     {{"assistant", "first"}, {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"}},
     NULL},
    {"llama3",
     {{"user", "Hi"}},
     "<s><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|><|start_header_id|>assi"
     "stant<|end_header_id|>\n\n"},
    {"llama3",
     {{"system", " Be brief.\n"}, {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"}},
     "<s><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|><|start_header"
     "_id|>user<|end_header_id|>\n\nWhat is 2+2\? <|im_end|><|eot_id|><|start_header_id|>"
     "assistant<|end_header_id|>\n\n"},
    {"llama3",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"user", "\303\234berpr\303\274fe\011das\037"}},
     "<s><|start_header_id|>user<|end_header_id|>\n\nWhat is 2+2\? <|im_end|><|eot_id|><|"
     "start_header_id|>assistant<|end_header_id|>\n\n<think>\n\nsum\n</think>\n\n 4.<|eot_id|"
     "><|start_header_id|>user<|end_header_id|>\n\n\303\234berpr\303\274fe\011das<|eot_id|><|start_"
     "head"
     "er_id|>assistant<|end_header_id|>\n\n"},
    {"llama3",
     {{"system", " Be brief.\n"},
      {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"user", "\303\234berpr\303\274fe\011das\037"}},
     "<s><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|><|start_header"
     "_id|>user<|end_header_id|>\n\nWhat is 2+2\? <|im_end|><|eot_id|><|start_header_id|>"
     "assistant<|end_header_id|>\n\n<think>\n\nsum\n</think>\n\n 4.<|eot_id|><|start_header_i"
     "d|>user<|end_header_id|>\n\n\303\234berpr\303\274fe\011das<|eot_id|><|start_header_id|>"
     "assistant<"
     "|end_header_id|>\n\n"},
    {"llama3",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "plain"},
      {"user", "\303\234berpr\303\274fe\011das\037"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"user", " \n "}},
     "<s><|start_header_id|>user<|end_header_id|>\n\nWhat is 2+2\? <|im_end|><|eot_id|><|"
     "start_header_id|>assistant<|end_header_id|>\n\nplain<|eot_id|><|start_header_id|>u"
     "ser<|end_header_id|>\n\n\303\234berpr\303\274fe\011das<|eot_id|><|start_header_id|>assistant<"
     "|end"
     "_header_id|>\n\n<think>\n\nsum\n</think>\n\n 4.<|eot_id|><|start_header_id|>user<|end_h"
     "eader_id|>\n\n<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"},
    {"llama3",
     {{"system", " Be brief.\n"}, {"user", "\n"}},
     "<s><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|><|start_header"
     "_id|>user<|end_header_id|>\n\n<|eot_id|><|start_header_id|>assistant<|end_header_i"
     "d|>\n\n"},
    {"llama3",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"}},
     "<s><|start_header_id|>user<|end_header_id|>\n\nWhat is 2+2\? <|im_end|><|eot_id|><|"
     "start_header_id|>user<|end_header_id|>\n\nWhat is 2+2\? <|im_end|><|eot_id|><|start"
     "_header_id|>assistant<|end_header_id|>\n\n"},
    {"llama3",
     {{"assistant", "first"}, {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"}},
     "<s><|start_header_id|>assistant<|end_header_id|>\n\nfirst<|eot_id|><|start_header_"
     "id|>user<|end_header_id|>\n\nWhat is 2+2\? <|im_end|><|eot_id|><|start_header_id|>a"
     "ssistant<|end_header_id|>\n\n"},
    {"llama3.1",
     {{"user", "Hi"}},
     "<s><|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December "
     "2023\nToday Date: 26 Jul 2024\n\n<|eot_id|><|start_header_id|>user<|end_header_id|>"
     "\n\nHi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"},
    {"llama3.1",
     {{"system", " Be brief.\n"}, {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"}},
     "<s><|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December "
     "2023\nToday Date: 26 Jul 2024\n\nBe brief.<|eot_id|><|start_header_id|>user<|end_he"
     "ader_id|>\n\nWhat is 2+2\? <|im_end|><|eot_id|><|start_header_id|>assistant<|end_he"
     "ader_id|>\n\n"},
    {"llama3.1",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"user", "\303\234berpr\303\274fe\011das\037"}},
     "<s><|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December "
     "2023\nToday Date: 26 Jul 2024\n\n<|eot_id|><|start_header_id|>user<|end_header_id|>"
     "\n\nWhat is 2+2\? <|im_end|><|eot_id|><|start_header_id|>assistant<|end_header_id|>"
     "\n\n<think>\n\nsum\n</think>\n\n 4.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n"
     "\303\234berpr\303\274fe\011das<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"},
    {"llama3.1",
     {{"system", " Be brief.\n"},
      {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"user", "\303\234berpr\303\274fe\011das\037"}},
     "<s><|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December "
     "2023\nToday Date: 26 Jul 2024\n\nBe brief.<|eot_id|><|start_header_id|>user<|end_he"
     "ader_id|>\n\nWhat is 2+2\? <|im_end|><|eot_id|><|start_header_id|>assistant<|end_he"
     "ader_id|>\n\n<think>\n\nsum\n</think>\n\n 4.<|eot_id|><|start_header_id|>user<|end_head"
     "er_id|>\n\n\303\234berpr\303\274fe\011das<|eot_id|><|start_header_id|>assistant<|end_header_"
     "id|>\n"
     "\n"},
    {"llama3.1",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "plain"},
      {"user", "\303\234berpr\303\274fe\011das\037"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"user", " \n "}},
     "<s><|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December "
     "2023\nToday Date: 26 Jul 2024\n\n<|eot_id|><|start_header_id|>user<|end_header_id|>"
     "\n\nWhat is 2+2\? <|im_end|><|eot_id|><|start_header_id|>assistant<|end_header_id|>"
     "\n\nplain<|eot_id|><|start_header_id|>user<|end_header_id|>"
     "\n\n\303\234berpr\303\274fe\011das<|eot_"
     "id|><|start_header_id|>assistant<|end_header_id|>\n\n<think>\n\nsum\n</think>\n\n 4.<|e"
     "ot_id|><|start_header_id|>user<|end_header_id|>\n\n<|eot_id|><|start_header_id|>as"
     "sistant<|end_header_id|>\n\n"},
    {"llama3.1",
     {{"system", " Be brief.\n"}, {"user", "\n"}},
     "<s><|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December "
     "2023\nToday Date: 26 Jul 2024\n\nBe brief.<|eot_id|><|start_header_id|>user<|end_he"
     "ader_id|>\n\n<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"},
    {"llama3.1",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"}},
     "<s><|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December "
     "2023\nToday Date: 26 Jul 2024\n\n<|eot_id|><|start_header_id|>user<|end_header_id|>"
     "\n\nWhat is 2+2\? <|im_end|><|eot_id|><|start_header_id|>user<|end_header_id|>\n\nWha"
     "t is 2+2\? <|im_end|><|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"},
    {"llama3.1",
     {{"assistant", "first"}, {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"}},
     "<s><|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December "
     "2023\nToday Date: 26 Jul 2024\n\n<|eot_id|><|start_header_id|>assistant<|end_header"
     "_id|>\n\nfirst<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nWhat is 2+2\? <|i"
     "m_end|><|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"},
    {"mistral-v0.1", {{"user", "Hi"}}, "<s>[INST] Hi [/INST]"},
    {"mistral-v0.1",
     {{"system", " Be brief.\n"}, {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"}},
     NULL},
    {"mistral-v0.1",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"user", "\303\234berpr\303\274fe\011das\037"}},
     "<s>[INST]   What is 2+2\? <|im_end|>\343\200\200\n [/INST]<think>\n\nsum\n</think>\n\n 4. "
     "</s> ["
     "INST] \303\234berpr\303\274fe\011das\037 [/INST]"},
    {"mistral-v0.1",
     {{"system", " Be brief.\n"},
      {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"user", "\303\234berpr\303\274fe\011das\037"}},
     NULL},
    {"mistral-v0.1",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "plain"},
      {"user", "\303\234berpr\303\274fe\011das\037"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"user", " \n "}},
     "<s>[INST]   What is 2+2\? <|im_end|>\343\200\200\n [/INST]plain</s> [INST] "
     "\303\234berpr\303\274fe\011das\037"
     " [/INST]<think>\n\nsum\n</think>\n\n 4. </s> [INST]  \n  [/INST]"},
    {"mistral-v0.1", {{"system", " Be brief.\n"}, {"user", "\n"}}, NULL},
    {"mistral-v0.1",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"}},
     NULL},
    {"mistral-v0.1",
     {{"assistant", "first"}, {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"}},
     NULL},
    {"mistral-v0.2", {{"user", "Hi"}}, "<s>[INST] Hi [/INST]"},
    {"mistral-v0.2",
     {{"system", " Be brief.\n"}, {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"}},
     NULL},
    {"mistral-v0.2",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"user", "\303\234berpr\303\274fe\011das\037"}},
     "<s>[INST]   What is 2+2\? <|im_end|>\343\200\200\n [/INST]<think>\n\nsum\n</think>\n\n 4. "
     "</s>[I"
     "NST] \303\234berpr\303\274fe\011das\037 [/INST]"},
    {"mistral-v0.2",
     {{"system", " Be brief.\n"},
      {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"user", "\303\234berpr\303\274fe\011das\037"}},
     NULL},
    {"mistral-v0.2",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "plain"},
      {"user", "\303\234berpr\303\274fe\011das\037"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"user", " \n "}},
     "<s>[INST]   What is 2+2\? <|im_end|>\343\200\200\n [/INST]plain</s>[INST] "
     "\303\234berpr\303\274fe\011das\037 "
     "[/INST]<think>\n\nsum\n</think>\n\n 4. </s>[INST]  \n  [/INST]"},
    {"mistral-v0.2", {{"system", " Be brief.\n"}, {"user", "\n"}}, NULL},
    {"mistral-v0.2",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"}},
     NULL},
    {"mistral-v0.2",
     {{"assistant", "first"}, {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"}},
     NULL},
    {"mistral-v1", {{"user", "Hi"}}, "<s> [INST] Hi [/INST]"},
    {"mistral-v1",
     {{"system", " Be brief.\n"}, {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"}},
     "<s> [INST]  Be brief.\n\n\n  What is 2+2\? <|im_end|>\343\200\200\n [/INST]"},
    {"mistral-v1",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"user", "\303\234berpr\303\274fe\011das\037"}},
     "<s> [INST]   What is 2+2\? <|im_end|>\343\200\200\n [/INST] <think>\n\nsum\n</think>\n\n 4. "
     "</s>"
     " [INST] \303\234berpr\303\274fe\011das\037 [/INST]"},
    {"mistral-v1",
     {{"system", " Be brief.\n"},
      {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"user", "\303\234berpr\303\274fe\011das\037"}},
     "<s> [INST]  Be brief.\n\n\n  What is 2+2\? <|im_end|>\343\200\200\n [/INST] "
     "<think>\n\nsum\n</thi"
     "nk>\n\n 4. </s> [INST] \303\234berpr\303\274fe\011das\037 [/INST]"},
    {"mistral-v1",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "plain"},
      {"user", "\303\234berpr\303\274fe\011das\037"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"user", " \n "}},
     "<s> [INST]   What is 2+2\? <|im_end|>\343\200\200\n [/INST] plain</s> [INST] "
     "\303\234berpr\303\274fe\011da"
     "s\037 [/INST] <think>\n\nsum\n</think>\n\n 4. </s> [INST]  \n  [/INST]"},
    {"mistral-v1",
     {{"system", " Be brief.\n"}, {"user", "\n"}},
     "<s> [INST]  Be brief.\n\n\n\n [/INST]"},
    {"mistral-v1",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"}},
     NULL},
    {"mistral-v1",
     {{"assistant", "first"}, {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"}},
     NULL},
    {"mistral-v3", {{"user", "Hi"}}, "<s>[INST] Hi[/INST]"},
    {"mistral-v3",
     {{"system", " Be brief.\n"}, {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"}},
     "<s>[INST]  Be brief.\n\n\n  What is 2+2\? <|im_end|>\343\200\200\n[/INST]"},
    {"mistral-v3",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"user", "\303\234berpr\303\274fe\011das\037"}},
     "<s>[INST]   What is 2+2\? <|im_end|>\343\200\200\n[/INST] <think>\n\nsum\n</think>\n\n "
     "4.</s>[IN"
     "ST] \303\234berpr\303\274fe\011das\037[/INST]"},
    {"mistral-v3",
     {{"system", " Be brief.\n"},
      {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"user", "\303\234berpr\303\274fe\011das\037"}},
     "<s>[INST]   What is 2+2\? <|im_end|>\343\200\200\n[/INST] <think>\n\nsum\n</think>\n\n "
     "4.</s>[IN"
     "ST]  Be brief.\n\n\n\303\234berpr\303\274fe\011das\037[/INST]"},
    {"mistral-v3",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "plain"},
      {"user", "\303\234berpr\303\274fe\011das\037"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"user", " \n "}},
     "<s>[INST]   What is 2+2\? <|im_end|>\343\200\200\n[/INST] plain</s>[INST] "
     "\303\234berpr\303\274fe\011das\037["
     "/INST] <think>\n\nsum\n</think>\n\n 4.</s>[INST]  \n [/INST]"},
    {"mistral-v3",
     {{"system", " Be brief.\n"}, {"user", "\n"}},
     "<s>[INST]  Be brief.\n\n\n\n[/INST]"},
    {"mistral-v3",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"}},
     NULL},
    {"mistral-v3",
     {{"assistant", "first"}, {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"}},
     NULL},
    {"mistral-v3-tekken", {{"user", "Hi"}}, "<s>[INST]Hi[/INST]"},
    {"mistral-v3-tekken",
     {{"system", " Be brief.\n"}, {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"}},
     "<s>[INST] Be brief.\n\n\n  What is 2+2\? <|im_end|>\343\200\200\n[/INST]"},
    {"mistral-v3-tekken",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"user", "\303\234berpr\303\274fe\011das\037"}},
     "<s>[INST]  What is 2+2\? <|im_end|>\343\200\200\n[/INST]<think>\n\nsum\n</think>\n\n 4. "
     "</s>[INS"
     "T]\303\234berpr\303\274fe\011das\037[/INST]"},
    {"mistral-v3-tekken",
     {{"system", " Be brief.\n"},
      {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"user", "\303\234berpr\303\274fe\011das\037"}},
     "<s>[INST]  What is 2+2\? <|im_end|>\343\200\200\n[/INST]<think>\n\nsum\n</think>\n\n 4. "
     "</s>[INS"
     "T] Be brief.\n\n\n\303\234berpr\303\274fe\011das\037[/INST]"},
    {"mistral-v3-tekken",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "plain"},
      {"user", "\303\234berpr\303\274fe\011das\037"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"user", " \n "}},
     "<s>[INST]  What is 2+2\? "
     "<|im_end|>\343\200\200\n[/INST]plain</s>[INST]\303\234berpr\303\274fe\011das\037[/IN"
     "ST]<think>\n\nsum\n</think>\n\n 4. </s>[INST] \n [/INST]"},
    {"mistral-v3-tekken",
     {{"system", " Be brief.\n"}, {"user", "\n"}},
     "<s>[INST] Be brief.\n\n\n\n[/INST]"},
    {"mistral-v3-tekken",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"}},
     NULL},
    {"mistral-v3-tekken",
     {{"assistant", "first"}, {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"}},
     NULL},
    {"mistral-v7", {{"user", "Hi"}}, "<s>[INST] Hi[/INST]"},
    {"mistral-v7",
     {{"system", " Be brief.\n"}, {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"}},
     "<s>[SYSTEM_PROMPT]  Be brief.\n[/SYSTEM_PROMPT][INST]   What is 2+2\? <|im_end|>\343\200"
     "\200\n[/INST]"},
    {"mistral-v7",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"user", "\303\234berpr\303\274fe\011das\037"}},
     "<s>[INST]   What is 2+2\? <|im_end|>\343\200\200\n[/INST] <think>\n\nsum\n</think>\n\n 4. "
     "</s>[I"
     "NST] \303\234berpr\303\274fe\011das\037[/INST]"},
    {"mistral-v7",
     {{"system", " Be brief.\n"},
      {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"user", "\303\234berpr\303\274fe\011das\037"}},
     "<s>[SYSTEM_PROMPT]  Be brief.\n[/SYSTEM_PROMPT][INST]   What is 2+2\? <|im_end|>\343\200"
     "\200\n[/INST] <think>\n\nsum\n</think>\n\n 4. </s>[INST] "
     "\303\234berpr\303\274fe\011das\037[/INST]"},
    {"mistral-v7",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "plain"},
      {"user", "\303\234berpr\303\274fe\011das\037"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"user", " \n "}},
     "<s>[INST]   What is 2+2\? <|im_end|>\343\200\200\n[/INST] plain</s>[INST] "
     "\303\234berpr\303\274fe\011das\037["
     "/INST] <think>\n\nsum\n</think>\n\n 4. </s>[INST]  \n [/INST]"},
    {"mistral-v7",
     {{"system", " Be brief.\n"}, {"user", "\n"}},
     "<s>[SYSTEM_PROMPT]  Be brief.\n[/SYSTEM_PROMPT][INST] \n[/INST]"},
    {"mistral-v7",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"}},
     "<s>[INST]   What is 2+2\? <|im_end|>\343\200\200\n[/INST][INST]   What is 2+2\? "
     "<|im_end|>\343\200"
     "\200\n[/INST]"},
    {"mistral-v7",
     {{"assistant", "first"}, {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"}},
     "<s> first</s>[INST]   What is 2+2\? <|im_end|>\343\200\200\n[/INST]"},
    {"zephyr", {{"user", "Hi"}}, "<|user|>\nHi</s>\n<|assistant|>\n"},
    {"zephyr",
     {{"system", " Be brief.\n"}, {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"}},
     "<|system|>\n Be brief.\n</s>\n<|user|>\n  What is 2+2\? "
     "<|im_end|>\343\200\200\n</s>\n<|assistan"
     "t|>\n"},
    {"zephyr",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"user", "\303\234berpr\303\274fe\011das\037"}},
     "<|user|>\n  What is 2+2\? "
     "<|im_end|>\343\200\200\n</s>\n<|assistant|>\n<think>\n\nsum\n</think>\n\n"
     " 4. </s>\n<|user|>\n\303\234berpr\303\274fe\011das\037</s>\n<|assistant|>\n"},
    {"zephyr",
     {{"system", " Be brief.\n"},
      {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"user", "\303\234berpr\303\274fe\011das\037"}},
     "<|system|>\n Be brief.\n</s>\n<|user|>\n  What is 2+2\? "
     "<|im_end|>\343\200\200\n</s>\n<|assistan"
     "t|>\n<think>\n\nsum\n</think>\n\n 4. "
     "</s>\n<|user|>\n\303\234berpr\303\274fe\011das\037</s>\n<|assistant|>\n"},
    {"zephyr",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "plain"},
      {"user", "\303\234berpr\303\274fe\011das\037"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"user", " \n "}},
     "<|user|>\n  What is 2+2\? "
     "<|im_end|>\343\200\200\n</s>\n<|assistant|>\nplain</s>\n<|user|>\n\303\234be"
     "rpr\303\274fe\011das\037</s>\n<|assistant|>\n<think>\n\nsum\n</think>\n\n 4. "
     "</s>\n<|user|>\n \n </s>\n"
     "<|assistant|>\n"},
    {"zephyr",
     {{"system", " Be brief.\n"}, {"user", "\n"}},
     "<|system|>\n Be brief.\n</s>\n<|user|>\n\n</s>\n<|assistant|>\n"},
    {"zephyr",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"}},
     "<|user|>\n  What is 2+2\? <|im_end|>\343\200\200\n</s>\n<|user|>\n  What is 2+2\? "
     "<|im_end|>\343\200\200"
     "\n</s>\n<|assistant|>\n"},
    {"zephyr",
     {{"assistant", "first"}, {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"}},
     "<|assistant|>\nfirst</s>\n<|user|>\n  What is 2+2\? "
     "<|im_end|>\343\200\200\n</s>\n<|assistant|>"
     "\n"},
    {"gemma", {{"user", "Hi"}}, "<s><start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\n"},
    {"gemma",
     {{"system", " Be brief.\n"}, {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"}},
     NULL},
    {"gemma",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"user", "\303\234berpr\303\274fe\011das\037"}},
     "<s><start_of_turn>user\nWhat is 2+2\? <|im_end|><end_of_turn>\n<start_of_turn>model"
     "\n<think>\n\nsum\n</think>\n\n "
     "4.<end_of_turn>\n<start_of_turn>user\n\303\234berpr\303\274fe\011das<end"
     "_of_turn>\n<start_of_turn>model\n"},
    {"gemma",
     {{"system", " Be brief.\n"},
      {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"user", "\303\234berpr\303\274fe\011das\037"}},
     NULL},
    {"gemma",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "plain"},
      {"user", "\303\234berpr\303\274fe\011das\037"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"user", " \n "}},
     "<s><start_of_turn>user\nWhat is 2+2\? <|im_end|><end_of_turn>\n<start_of_turn>model"
     "\nplain<end_of_turn>\n<start_of_turn>user\n\303\234berpr\303\274fe\011das<end_of_turn>\n<"
     "start_of_t"
     "urn>model\n<think>\n\nsum\n</think>\n\n 4.<end_of_turn>\n<start_of_turn>user\n<end_of_tu"
     "rn>\n<start_of_turn>model\n"},
    {"gemma", {{"system", " Be brief.\n"}, {"user", "\n"}}, NULL},
    {"gemma",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"}},
     NULL},
    {"gemma", {{"assistant", "first"}, {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"}}, NULL},
    {"gemma3", {{"user", "Hi"}}, "<s><start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\n"},
    {"gemma3",
     {{"system", " Be brief.\n"}, {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"}},
     "<s><start_of_turn>user\n Be brief.\n\n\nWhat is 2+2\? <|im_end|><end_of_turn>\n<start_"
     "of_turn>model\n"},
    {"gemma3",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"user", "\303\234berpr\303\274fe\011das\037"}},
     "<s><start_of_turn>user\nWhat is 2+2\? <|im_end|><end_of_turn>\n<start_of_turn>model"
     "\n<think>\n\nsum\n</think>\n\n "
     "4.<end_of_turn>\n<start_of_turn>user\n\303\234berpr\303\274fe\011das<end"
     "_of_turn>\n<start_of_turn>model\n"},
    {"gemma3",
     {{"system", " Be brief.\n"},
      {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"user", "\303\234berpr\303\274fe\011das\037"}},
     "<s><start_of_turn>user\n Be brief.\n\n\nWhat is 2+2\? <|im_end|><end_of_turn>\n<start_"
     "of_turn>model\n<think>\n\nsum\n</think>\n\n "
     "4.<end_of_turn>\n<start_of_turn>user\n\303\234berp"
     "r\303\274fe\011das<end_of_turn>\n<start_of_turn>model\n"},
    {"gemma3",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "plain"},
      {"user", "\303\234berpr\303\274fe\011das\037"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"user", " \n "}},
     "<s><start_of_turn>user\nWhat is 2+2\? <|im_end|><end_of_turn>\n<start_of_turn>model"
     "\nplain<end_of_turn>\n<start_of_turn>user\n\303\234berpr\303\274fe\011das<end_of_turn>\n<"
     "start_of_t"
     "urn>model\n<think>\n\nsum\n</think>\n\n 4.<end_of_turn>\n<start_of_turn>user\n<end_of_tu"
     "rn>\n<start_of_turn>model\n"},
    {"gemma3",
     {{"system", " Be brief.\n"}, {"user", "\n"}},
     "<s><start_of_turn>user\n Be brief.\n\n\n<end_of_turn>\n<start_of_turn>model\n"},
    {"gemma3",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"}},
     NULL},
    {"gemma3",
     {{"assistant", "first"}, {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"}},
     NULL},
    {"phi3", {{"user", "Hi"}}, "<|user|>\nHi<|end|>\n<|assistant|>\n"},
    {"phi3",
     {{"system", " Be brief.\n"}, {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"}},
     "<|system|>\n Be brief.\n<|end|>\n<|user|>\n  What is 2+2\? "
     "<|im_end|>\343\200\200\n<|end|>\n<|as"
     "sistant|>\n"},
    {"phi3",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"user", "\303\234berpr\303\274fe\011das\037"}},
     "<|user|>\n  What is 2+2\? "
     "<|im_end|>\343\200\200\n<|end|>\n<|assistant|>\n<think>\n\nsum\n</think"
     ">\n\n 4. <|end|>\n<|user|>\n\303\234berpr\303\274fe\011das\037<|end|>\n<|assistant|>\n"},
    {"phi3",
     {{"system", " Be brief.\n"},
      {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"user", "\303\234berpr\303\274fe\011das\037"}},
     "<|system|>\n Be brief.\n<|end|>\n<|user|>\n  What is 2+2\? "
     "<|im_end|>\343\200\200\n<|end|>\n<|as"
     "sistant|>\n<think>\n\nsum\n</think>\n\n 4. "
     "<|end|>\n<|user|>\n\303\234berpr\303\274fe\011das\037<|end|>\n<|"
     "assistant|>\n"},
    {"phi3",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "plain"},
      {"user", "\303\234berpr\303\274fe\011das\037"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"user", " \n "}},
     "<|user|>\n  What is 2+2\? "
     "<|im_end|>\343\200\200\n<|end|>\n<|assistant|>\nplain<|end|>\n<|user|"
     ">\n\303\234berpr\303\274fe\011das\037<|end|>\n<|assistant|>\n<think>\n\nsum\n</think>\n\n 4. "
     "<|end|>\n<|use"
     "r|>\n \n <|end|>\n<|assistant|>\n"},
    {"phi3",
     {{"system", " Be brief.\n"}, {"user", "\n"}},
     "<|system|>\n Be brief.\n<|end|>\n<|user|>\n\n<|end|>\n<|assistant|>\n"},
    {"phi3",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"}},
     "<|user|>\n  What is 2+2\? <|im_end|>\343\200\200\n<|end|>\n<|user|>\n  What is 2+2\? "
     "<|im_end|>"
     "\343\200\200\n<|end|>\n<|assistant|>\n"},
    {"phi3",
     {{"assistant", "first"}, {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"}},
     "<|assistant|>\nfirst<|end|>\n<|user|>\n  What is 2+2\? "
     "<|im_end|>\343\200\200\n<|end|>\n<|assis"
     "tant|>\n"},
    {"vicuna", {{"user", "Hi"}}, "USER: Hi\nASSISTANT:"},
    {"vicuna",
     {{"system", " Be brief.\n"}, {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"}},
     " Be brief.\n\n\nUSER:   What is 2+2\? <|im_end|>\343\200\200\n\nASSISTANT:"},
    {"vicuna",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"user", "\303\234berpr\303\274fe\011das\037"}},
     "USER:   What is 2+2\? <|im_end|>\343\200\200\n\nASSISTANT: <think>\n\nsum\n</think>\n\n 4. "
     "</s>\nU"
     "SER: \303\234berpr\303\274fe\011das\037\nASSISTANT:"},
    {"vicuna",
     {{"system", " Be brief.\n"},
      {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"user", "\303\234berpr\303\274fe\011das\037"}},
     " Be brief.\n\n\nUSER:   What is 2+2\? <|im_end|>\343\200\200\n\nASSISTANT: "
     "<think>\n\nsum\n</think"
     ">\n\n 4. </s>\nUSER: \303\234berpr\303\274fe\011das\037\nASSISTANT:"},
    {"vicuna",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "plain"},
      {"user", "\303\234berpr\303\274fe\011das\037"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"user", " \n "}},
     "USER:   What is 2+2\? <|im_end|>\343\200\200\n\nASSISTANT: plain</s>\nUSER: "
     "\303\234berpr\303\274fe\011das\037\n"
     "ASSISTANT: <think>\n\nsum\n</think>\n\n 4. </s>\nUSER:  \n \nASSISTANT:"},
    {"vicuna",
     {{"system", " Be brief.\n"}, {"user", "\n"}},
     " Be brief.\n\n\nUSER: \n\nASSISTANT:"},
    {"vicuna",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"}},
     "USER:   What is 2+2\? <|im_end|>\343\200\200\n\nUSER:   What is 2+2\? "
     "<|im_end|>\343\200\200\n\nASSISTAN"
     "T:"},
    {"vicuna",
     {{"assistant", "first"}, {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"}},
     "ASSISTANT: first</s>\nUSER:   What is 2+2\? <|im_end|>\343\200\200\n\nASSISTANT:"},
    {"openchat",
     {{"user", "Hi"}},
     "<s>GPT4 Correct User: Hi<|end_of_turn|>GPT4 Correct Assistant:"},
    {"openchat",
     {{"system", " Be brief.\n"}, {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"}},
     "<s>GPT4 Correct System:  Be brief.\n<|end_of_turn|>GPT4 Correct User:   What is 2"
     "+2\? <|im_end|>\343\200\200\n<|end_of_turn|>GPT4 Correct Assistant:"},
    {"openchat",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"user", "\303\234berpr\303\274fe\011das\037"}},
     "<s>GPT4 Correct User:   What is 2+2\? <|im_end|>\343\200\200\n<|end_of_turn|>GPT4 Correct A"
     "ssistant: <think>\n\nsum\n</think>\n\n 4. <|end_of_turn|>GPT4 Correct User: "
     "\303\234berpr\303\274"
     "fe\011das\037<|end_of_turn|>GPT4 Correct Assistant:"},
    {"openchat",
     {{"system", " Be brief.\n"},
      {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"user", "\303\234berpr\303\274fe\011das\037"}},
     "<s>GPT4 Correct System:  Be brief.\n<|end_of_turn|>GPT4 Correct User:   What is 2"
     "+2\? <|im_end|>\343\200\200\n<|end_of_turn|>GPT4 Correct Assistant: "
     "<think>\n\nsum\n</think>\n\n"
     " 4. <|end_of_turn|>GPT4 Correct User: \303\234berpr\303\274fe\011das\037<|end_of_turn|>GPT4 "
     "Correc"
     "t Assistant:"},
    {"openchat",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "plain"},
      {"user", "\303\234berpr\303\274fe\011das\037"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"user", " \n "}},
     "<s>GPT4 Correct User:   What is 2+2\? <|im_end|>\343\200\200\n<|end_of_turn|>GPT4 Correct A"
     "ssistant: plain<|end_of_turn|>GPT4 Correct User: "
     "\303\234berpr\303\274fe\011das\037<|end_of_turn|>"
     "GPT4 Correct Assistant: <think>\n\nsum\n</think>\n\n 4. <|end_of_turn|>GPT4 Correct U"
     "ser:  \n <|end_of_turn|>GPT4 Correct Assistant:"},
    {"openchat",
     {{"system", " Be brief.\n"}, {"user", "\n"}},
     "<s>GPT4 Correct System:  Be brief.\n<|end_of_turn|>GPT4 Correct User: \n<|end_of_t"
     "urn|>GPT4 Correct Assistant:"},
    {"openchat",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"}},
     "<s>GPT4 Correct User:   What is 2+2\? <|im_end|>\343\200\200\n<|end_of_turn|>GPT4 Correct U"
     "ser:   What is 2+2\? <|im_end|>\343\200\200\n<|end_of_turn|>GPT4 Correct Assistant:"},
    {"openchat",
     {{"assistant", "first"}, {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"}},
     "<s>GPT4 Correct Assistant: first<|end_of_turn|>GPT4 Correct User:   What is 2+2\?"
     " <|im_end|>\343\200\200\n<|end_of_turn|>GPT4 Correct Assistant:"},
    {"deepseek", {{"user", "Hi"}}, "<s>User: Hi\n\nAssistant:"},
    {"deepseek",
     {{"system", " Be brief.\n"}, {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"}},
     "<s> Be brief.\n\n\nUser:   What is 2+2\? <|im_end|>\343\200\200\n\n\nAssistant:"},
    {"deepseek",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"user", "\303\234berpr\303\274fe\011das\037"}},
     "<s>User:   What is 2+2\? <|im_end|>\343\200\200\n\n\nAssistant: <think>\n\nsum\n</think>\n\n "
     "4. </"
     "s>User: \303\234berpr\303\274fe\011das\037\n\nAssistant:"},
    {"deepseek",
     {{"system", " Be brief.\n"},
      {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"user", "\303\234berpr\303\274fe\011das\037"}},
     "<s> Be brief.\n\n\nUser:   What is 2+2\? <|im_end|>\343\200\200\n\n\nAssistant: "
     "<think>\n\nsum\n</t"
     "hink>\n\n 4. </s>User: \303\234berpr\303\274fe\011das\037\n\nAssistant:"},
    {"deepseek",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "plain"},
      {"user", "\303\234berpr\303\274fe\011das\037"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"user", " \n "}},
     "<s>User:   What is 2+2\? <|im_end|>\343\200\200\n\n\nAssistant: plain</s>User: "
     "\303\234berpr\303\274fe\011da"
     "s\037\n\nAssistant: <think>\n\nsum\n</think>\n\n 4. </s>User:  \n \n\nAssistant:"},
    {"deepseek",
     {{"system", " Be brief.\n"}, {"user", "\n"}},
     "<s> Be brief.\n\n\nUser: \n\n\nAssistant:"},
    {"deepseek",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"}},
     "<s>User:   What is 2+2\? <|im_end|>\343\200\200\n\n\nUser:   What is 2+2\? "
     "<|im_end|>\343\200\200\n\n\nAss"
     "istant:"},
    {"deepseek",
     {{"assistant", "first"}, {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"}},
     "<s>Assistant: first</s>User:   What is 2+2\? <|im_end|>\343\200\200\n\n\nAssistant:"},
    {"deepseek-r1",
     {{"user", "Hi"}},
     "<s><\357\275\234User\357\275\234>Hi<\357\275\234Assistant\357\275\234>"},
    {"deepseek-r1",
     {{"system", " Be brief.\n"}, {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"}},
     "<s> Be brief.\n<\357\275\234User\357\275\234>  What is 2+2\? "
     "<|im_end|>\343\200\200\n<\357\275\234Assistant\357\275\234>"},
    {"deepseek-r1",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"user", "\303\234berpr\303\274fe\011das\037"}},
     "<s><\357\275\234User\357\275\234>  What is 2+2\? "
     "<|im_end|>\343\200\200\n<\357\275\234Assistant\357\275\234>\n\n 4. "
     "<\357\275\234end\342\226\201of\342"
     "\226\201sentence\357\275\234><\357\275\234User\357\275\234>"
     "\303\234berpr\303\274fe\011das\037<\357\275\234Assistant\357\275\234>"},
    {"deepseek-r1",
     {{"system", " Be brief.\n"},
      {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"user", "\303\234berpr\303\274fe\011das\037"}},
     "<s> Be brief.\n<\357\275\234User\357\275\234>  What is 2+2\? "
     "<|im_end|>\343\200\200\n<\357\275\234Assistant\357\275\234>\n\n 4. <\357"
     "\275\234end\342\226\201of\342\226\201sentence\357\275\234><\357\275\234User\357\275\234>"
     "\303\234berpr\303\274fe\011das\037<\357\275\234Assistant\357\275\234>"},
    {"deepseek-r1",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "plain"},
      {"user", "\303\234berpr\303\274fe\011das\037"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"user", " \n "}},
     "<s><\357\275\234User\357\275\234>  What is 2+2\? "
     "<|im_end|>\343\200\200\n<\357\275\234Assistant\357\275\234>plain<"
     "\357\275\234end\342\226\201of\342\226"
     "\201sentence\357\275\234><\357\275\234User\357\275\234>\303\234berpr\303\274fe\011das\037<"
     "\357\275\234Assistant\357\275\234>\n\n 4. <\357\275\234end\342\226\201of\342\226\201s"
     "entence\357\275\234><\357\275\234User\357\275\234> \n <\357\275\234Assistant\357\275\234>"},
    {"deepseek-r1",
     {{"system", " Be brief.\n"}, {"user", "\n"}},
     "<s> Be brief.\n<\357\275\234User\357\275\234>\n<\357\275\234Assistant\357\275\234>"},
    {"deepseek-r1",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"}},
     "<s><\357\275\234User\357\275\234>  What is 2+2\? "
     "<|im_end|>\343\200\200\n<\357\275\234User\357\275\234>  What is 2+2\? <|im_end|"
     ">\343\200\200\n<\357\275\234Assistant\357\275\234>"},
    {"deepseek-r1",
     {{"assistant", "first"}, {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"}},
     "<s><\357\275\234Assistant\357\275\234>first<"
     "\357\275\234end\342\226\201of\342\226\201sentence\357\275\234><\357\275\234User\357\275\234> "
     " What is 2+2\? <"
     "|im_end|>\343\200\200\n<\357\275\234Assistant\357\275\234>"},
    {"deepseek-r1-think",
     {{"user", "Hi"}},
     "<s><\357\275\234User\357\275\234>Hi<\357\275\234Assistant\357\275\234><think>\n"},
    {"deepseek-r1-think",
     {{"system", " Be brief.\n"}, {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"}},
     "<s> Be brief.\n<\357\275\234User\357\275\234>  What is 2+2\? "
     "<|im_end|>\343\200\200\n<\357\275\234Assistant\357\275\234><think>\n"},
    {"deepseek-r1-think",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"user", "\303\234berpr\303\274fe\011das\037"}},
     "<s><\357\275\234User\357\275\234>  What is 2+2\? "
     "<|im_end|>\343\200\200\n<\357\275\234Assistant\357\275\234>\n\n 4. "
     "<\357\275\234end\342\226\201of\342"
     "\226\201sentence\357\275\234><\357\275\234User\357\275\234>"
     "\303\234berpr\303\274fe\011das\037<\357\275\234Assistant\357\275\234><think>\n"},
    {"deepseek-r1-think",
     {{"system", " Be brief.\n"},
      {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"user", "\303\234berpr\303\274fe\011das\037"}},
     "<s> Be brief.\n<\357\275\234User\357\275\234>  What is 2+2\? "
     "<|im_end|>\343\200\200\n<\357\275\234Assistant\357\275\234>\n\n 4. <\357"
     "\275\234end\342\226\201of\342\226\201sentence\357\275\234><\357\275\234User\357\275\234>"
     "\303\234berpr\303\274fe\011das\037<\357\275\234Assistant\357\275\234><think>\n"},
    {"deepseek-r1-think",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"assistant", "plain"},
      {"user", "\303\234berpr\303\274fe\011das\037"},
      {"assistant", "<think>\n\nsum\n</think>\n\n 4. "},
      {"user", " \n "}},
     "<s><\357\275\234User\357\275\234>  What is 2+2\? "
     "<|im_end|>\343\200\200\n<\357\275\234Assistant\357\275\234>plain<"
     "\357\275\234end\342\226\201of\342\226"
     "\201sentence\357\275\234><\357\275\234User\357\275\234>\303\234berpr\303\274fe\011das\037<"
     "\357\275\234Assistant\357\275\234>\n\n 4. <\357\275\234end\342\226\201of\342\226\201s"
     "entence\357\275\234><\357\275\234User\357\275\234> \n "
     "<\357\275\234Assistant\357\275\234><think>\n"},
    {"deepseek-r1-think",
     {{"system", " Be brief.\n"}, {"user", "\n"}},
     "<s> Be brief.\n<\357\275\234User\357\275\234>\n<\357\275\234Assistant\357\275\234><think>\n"},
    {"deepseek-r1-think",
     {{"user", "  What is 2+2\? <|im_end|>\343\200\200\n"},
      {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"}},
     "<s><\357\275\234User\357\275\234>  What is 2+2\? "
     "<|im_end|>\343\200\200\n<\357\275\234User\357\275\234>  What is 2+2\? <|im_end|"
     ">\343\200\200\n<\357\275\234Assistant\357\275\234><think>\n"},
    {"deepseek-r1-think",
     {{"assistant", "first"}, {"user", "  What is 2+2\? <|im_end|>\343\200\200\n"}},
     "<s><\357\275\234Assistant\357\275\234>first<"
     "\357\275\234end\342\226\201of\342\226\201sentence\357\275\234><\357\275\234User\357\275\234> "
     " What is 2+2\? <"
     "|im_end|>\343\200\200\n<\357\275\234Assistant\357\275\234><think>\n"},
};
