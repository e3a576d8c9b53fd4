"""Every sentence of `lab commands explain`, in English and Chinese.

`did:` what a command did; `gone:` what to do without it; `flag:` the same for one flag; the rest is
what changed, and the traps. {placeholders} are filled by whoever gives the sentence.
"""

from dataclasses import dataclass, field

LANGUAGES = ("en", "zh")


@dataclass(frozen=True)
class Note:
    """One sentence to say: its key in TEXTS and what fills its placeholders."""

    key: str
    fields: dict[str, str] = field(default_factory=dict, hash=False)

    @staticmethod
    def exists(key: str) -> bool:
        """Whether there is such a sentence."""
        return key in TEXTS

    def say(self, language: str) -> str:
        """The sentence."""
        return TEXTS[self.key][LANGUAGES.index(language)].format(**self.fields)


TEXTS = {
    # --- what commands did ---
    "did:": ("Shows LMDeploy's help or version.", "显示 LMDeploy 的帮助或版本号。"),
    "did:chat": (
        "Talks with a model in the terminal.",
        "在终端里与模型对话。",
    ),
    "did:chat torch": (
        "Talked with a Hugging Face model in the terminal, with PyTorch in place of TurboMind.",
        "在终端里与 Hugging Face 格式的模型对话，用 PyTorch 而不是 TurboMind。",
    ),
    "did:chat turbomind": (
        "Talked with a model in the terminal, with the TurboMind engine.",
        "在终端里与模型对话，使用 TurboMind 推理引擎。",
    ),
    "did:check_env": (
        "Prints the versions of what LMDeploy builds on.",
        "打印 LMDeploy 所依赖的各个软件的版本。",
    ),
    "did:convert": (
        "Offline conversion: wrote a Hugging Face model into a TurboMind workspace folder.",
        "离线转换：把 Hugging Face 格式的模型写成 TurboMind 的 workspace 文件夹。",
    ),
    "did:list": ("Printed the names of the supported models.", "打印所支持模型的名称。"),
    "did:lite auto_awq": (
        "Quantizes a model's weights to 4 bits with AWQ (W4A16).",
        "用 AWQ 把模型权重量化为 4 比特（W4A16）。",
    ),
    "did:lite auto_gptq": (
        "Quantizes a model's weights to 4 bits with GPTQ.",
        "用 GPTQ 把模型权重量化为 4 比特。",
    ),
    "did:lite calibrate": (
        "Calibration: runs a model over sample text and stores statistics of its activations.",
        "校准：让模型读一批样本文本，保存激活值的统计量。",
    ),
    "did:lite get_small_sharded_hf": (
        "Split a Hugging Face checkpoint into smaller files.",
        "把 Hugging Face 格式的权重文件拆成更小的文件。",
    ),
    "did:lite kv_qparams": (
        "Computed scales and zero points for KV cache quantization to int8 from the statistics of "
        "lite calibrate, and wrote them into a workspace.",
        "用 lite calibrate 的统计量计算 KV 缓存量化（int8）的缩放系数和零点，写入 workspace。",
    ),
    "did:lite smooth_quant": (
        "Quantizes weights and activations to 8 bits with SmoothQuant (W8A8).",
        "用 SmoothQuant 把权重和激活值量化为 8 比特（W8A8）。",
    ),
    "did:serve api_client": (
        "Talked with a running api_server from the terminal.",
        "在终端里与正在运行的 api_server 对话。",
    ),
    "did:serve api_server": (
        "Serves a model over HTTP, with OpenAI's protocol.",
        "通过 HTTP 提供模型服务，遵循 OpenAI 协议。",
    ),
    "did:serve gradio": (
        "Showed a chat page in the browser, made with Gradio.",
        "用 Gradio 在浏览器中显示对话页面。",
    ),
    "did:serve proxy": (
        "Distributes requests over several api_servers.",
        "把请求分发给多个 api_server。",
    ),
    "did:serve triton_client": (
        "Talked with a Triton inference server over gRPC.",
        "通过 gRPC 与 Triton 推理服务器对话。",
    ),
    # --- when ---
    "type": ("Today: {line}", "现在输入：{line}"),
    "nothing": ("Today: no LMDeploy command takes its place.", "现在：没有 LMDeploy 命令取代它。"),
    "valid today": ("LMDeploy accepts it since {first}.", "从 {first} 起 LMDeploy 接受这条命令。"),
    "refused": (
        "LMDeploy accepted it from {first} to {last}; it no longer parses since {since}.",
        "LMDeploy 从 {first} 到 {last} 接受这条命令；从 {since} 起不再接受。",
    ),
    "never": (
        "No release ever accepted this line as a whole: its parts come from different releases.",
        "没有任何一个版本接受过这整条命令：它的各部分来自不同的版本。",
    ),
    # --- what changed ---
    "command": (
        "lmdeploy {command} is gone since {since}.",
        "lmdeploy {command} 从 {since} 起已被移除。",
    ),
    "gone:convert": (
        "Nothing needs converting any more: give the Hugging Face folder itself to lmdeploy chat "
        "or lmdeploy serve api_server. To see an offline conversion, lab classic lmdeploy convert "
        "… runs the real 0.2.4.",
        "现在不需要转换：把 Hugging Face 格式的文件夹直接交给 lmdeploy chat 或 lmdeploy serve "
        "api_server。想看离线转换，可以用 lab classic lmdeploy convert … 运行真正的 0.2.4。",
    ),
    "gone:list": (
        "The list of supported models is in LMDeploy's documentation.",
        "所支持模型的列表见 LMDeploy 的文档。",
    ),
    "gone:lite get_small_sharded_hf": (
        "Transformers does it: model.save_pretrained(folder, max_shard_size=…).",
        "用 Transformers 即可：model.save_pretrained(folder, max_shard_size=…)。",
    ),
    "gone:lite kv_qparams": (
        "KV cache quantization needs no calibration and no workspace any more: give "
        "--quant-policy 8 (int8) or 4 (int4) when you serve or chat; scales are computed per token "
        "and head while the model runs.",
        "KV 缓存量化不再需要校准，也不需要 workspace：启动服务或对话时给出 --quant-policy 8（int8）"
        "或 4（int4）；缩放系数在运行时按每个词元、每个注意力头计算。",
    ),
    "gone:serve api_client": (
        "Use curl or the openai package with the server's address; LMDeploy's documentation still "
        "prints this command.",
        "用 curl 或 openai 包访问服务器的地址；LMDeploy 的文档里仍印着这条命令。",
    ),
    "gone:serve gradio": (
        "Serve with api_server and open any chat page that speaks OpenAI's protocol; LMDeploy's "
        "documentation still prints this command.",
        "用 api_server 提供服务，再打开任何遵循 OpenAI 协议的对话页面；LMDeploy 的文档里"
        "仍印着这条命令。",
    ),
    "gone:serve triton_client": (
        "LMDeploy serves over HTTP now: lmdeploy serve api_server.",
        "LMDeploy 现在通过 HTTP 提供服务：lmdeploy serve api_server。",
    ),
    "gone:chat torch": (
        "The engine is an option now: --backend pytorch, LMDeploy's own PyTorch engine.",
        "推理引擎现在是一个选项：--backend pytorch，即 LMDeploy 自己的 PyTorch 引擎。",
    ),
    "gone:chat turbomind": (
        "The engine is an option now: --backend turbomind, the default.",
        "推理引擎现在是一个选项：--backend turbomind，也是默认值。",
    ),
    "spelling": (
        "From 0.2.0 to 0.9.1 flags are refused with underscores: {new}, not {flag}.",
        "从 0.2.0 到 0.9.1，选项名不能用下划线：写 {new}，不写 {flag}。",
    ),
    "positional": (
        "Since 0.2.0 {flag} is given without its name: only the value.",
        "从 0.2.0 起 {flag} 不写名字，只写它的值。",
    ),
    "named": (
        "Since 0.2.0 this value needs its flag: {flag}.",
        "从 0.2.0 起这个值前面要写选项名：{flag}。",
    ),
    "flag": (
        "lmdeploy {command} has no {flag} since {since}.",
        "lmdeploy {command} 从 {since} 起没有 {flag}。",
    ),
    "flag never": ("lmdeploy {command} never had {flag}.", "lmdeploy {command} 从来没有 {flag}。"),
    "renamed": ("{flag} is called {new} now.", "{flag} 现在叫做 {new}。"),
    "value": (
        "{flag} {value} is refused since {since}.",
        "{flag} {value} 从 {since} 起不再被接受。",
    ),
    "switch": (
        "{flag} is a switch: give it without a value, or leave it out.",
        "{flag} 是开关：写上就是打开，后面不带值；不需要就不写。",
    ),
    "needed": ("{argument} is missing.", "缺少 {argument}。"),
    "flag:accel": (
        "DeepSpeed left with it; LMDeploy has its own PyTorch engine.",
        "DeepSpeed 随之移除；LMDeploy 有自己的 PyTorch 引擎。",
    ),
    "flag:cap": (
        "A chat template from a JSON file takes its place: --chat-template FILE.json.",
        "改用 JSON 文件里的对话模板：--chat-template FILE.json。",
    ),
    "flag:meta-instruction": (
        "Put the system prompt into a chat template file: --chat-template FILE.json.",
        "把系统提示词写进对话模板文件：--chat-template FILE.json。",
    ),
    "flag:enable-metrics": (
        "Metrics are on unless you give --disable-metrics.",
        "指标默认开启，除非给出 --disable-metrics。",
    ),
    "flag:model-name": (
        "It used to choose the chat template; LMDeploy takes the one of the model's tokenizer now, "
        "or --chat-template.",
        "它过去用来选择对话模板；现在 LMDeploy 使用模型的分词器自带的对话模板，"
        "或用 --chat-template 指定。",
    ),
    # --- traps ---
    "workspace": (
        "A converted workspace can no longer be loaded since 0.10.0, although LMDeploy's "
        "is_supported() still says yes: MODEL stands for the Hugging Face folder it was made from.",
        "从 0.10.0 起不能再加载转换得到的 workspace，虽然 LMDeploy 的 is_supported() 仍然说可以；"
        "MODEL 表示转换之前那个 Hugging Face 格式的文件夹。",
    ),
    "config.ini": (
        "In 0.2.4 this server silently overrides the workspace's config.ini with its own defaults: "
        "quant_policy set there becomes 0 again unless you give --quant-policy.",
        "在 0.2.4 中，这个服务器会用自己的默认值悄悄覆盖 workspace 里的 config.ini：在那里设置的 "
        "quant_policy 会变回 0，必须给出 --quant-policy。",
    ),
    "quant_policy": (
        "--quant-policy 4 meant int8 before 0.4.0 and means int4 since: type 8 for int8, 4 for "
        "int4.",
        "--quant-policy 4 在 0.4.0 之前表示 int8，从 0.4.0 起表示 int4：要 int8 写 8，"
        "要 int4 写 4。",
    ),
    "search_scale": (
        "From 0.4.2 to 0.6.2.post1 any value of --search-scale switched it on, False too.",
        "从 0.4.2 到 0.6.2.post1，--search-scale 后面写任何值都会打开它，写 False 也一样。",
    ),
    "c4": (
        "c4 is downloaded, and its reader loops for ever unless some document reaches "
        "--calib-seqlen tokens.",
        "c4 需要下载；而且只要没有一篇文档达到 --calib-seqlen 个词元，读取程序就会无限循环。",
    ),
    "dataset": (
        "The default calibration text was {then} and is {now} today.",
        "默认的校准文本过去是 {then}，现在是 {now}。",
    ),
    "calibrate": (
        "Today it writes no statistics of keys and values, and auto_awq needs no calibration "
        "before it.",
        "现在它不再保存 K 和 V 的统计量；auto_awq 之前也不需要先校准。",
    ),
    "awq": (
        "Up to 0.1.0 it needed lite calibrate before; since 0.2.0 it calibrates itself.",
        "0.1.0 及以前要先运行 lite calibrate；从 0.2.0 起它自己完成校准。",
    ),
    "kv_qparams": (
        "Releases 0.4.0 to 0.5.3 still parse it, but the engine ignores what it writes.",
        "0.4.0 到 0.5.3 仍接受这条命令，但推理引擎不理会它写下的结果。",
    ),
    "num_tp": ("0.2.4 fails without --num-tp 1.", "0.2.4 不写 --num-tp 1 就会出错。"),
    "kv_sym": (
        "The engine of 0.2.4 refuses the symmetric parameters that --kv-sym writes.",
        "0.2.4 的推理引擎不接受 --kv-sym 写下的对称量化参数。",
    ),
    "internlm2": (
        "InternLM2 is supported from 0.2.0 on, so the releases up to 0.1.0 that accept this "
        "spelling cannot run it.",
        "从 0.2.0 起才支持 InternLM2，所以接受这种写法的 0.1.0 及更早的版本运行不了它。",
    ),
    "old model": (
        "{model} is of a family that TurboMind no longer loads since 0.14.0; LMDeploy falls back "
        "to its PyTorch engine.",
        "{model} 所属的模型家族从 0.14.0 起不能再用 TurboMind 加载；LMDeploy 会改用它的 "
        "PyTorch 引擎。",
    ),
    "served name": (
        "Up to 0.5.3 --model-name also chose the chat template; now it is only the name that "
        "clients use.",
        "0.5.3 及以前，--model-name 还会选择对话模板；现在它只是客户端使用的模型名称。",
    ),
    "cache": (
        "--cache-max-entry-count was a share of the total GPU memory up to 0.2.1; since 0.2.2 it "
        "is one of the free memory.",
        "--cache-max-entry-count 在 0.2.1 及以前是全部显存的比例；从 0.2.2 起是空闲显存的比例。",
    ),
    "trust": (
        "Up to 0.5.3 --trust-remote-code of chat switched the trust off, which was on by default; "
        "since 0.13.0 it switches it on.",
        "0.5.3 及以前，chat 的 --trust-remote-code 是关闭信任（当时默认信任）；从 0.13.0 起它是"
        "打开信任。",
    ),
}
