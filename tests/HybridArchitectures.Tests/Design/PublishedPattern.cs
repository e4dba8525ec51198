using HybridArchitectures.Design;

namespace HybridArchitectures.Tests.Design;

/// <summary>Contains the layers of a published model, as its authors write them and in the notation of this library.</summary>
/// <param name="Name">The model.</param>
/// <param name="Source">Where the layers can be read: a repository and its file, the model's published configuration, or a paper.</param>
/// <param name="Blocks">Read from their notation.</param>
/// <param name="Expected">The same as a pattern string, white space free.</param>
/// <param name="PrintsBack">Whether the blocks print the same notation.</param>
sealed record PublishedPattern(string Name, string Source, EquatableList<PatternBlock> Blocks, string Expected, bool PrintsBack)
{
    const string Nemotron8B = "M-M-M-M*-M-M-M-M-M*-M-M-M-M-M*-M-M-M-M-M*-M-M-M-M-M-";
    const string Eight = "M~-M~-M~-M~T~-", Ten = "M~-M~-M~-M~-M~T~-", Tail = "M~-M~-M~-M~-M~-";

    static readonly Dictionary<string, string> kinds =
        new() { ["gdn"] = "G", ["attn"] = "T", ["mamba"] = "m", ["swa"] = "S", ["lightning"] = "L", ["bare mamba"] = "m~" };

    const string Bridge = "NVIDIA-NeMo/Megatron-Bridge, recipes/nemotronh/h100/";
    const string Transformers = "huggingface/transformers, models/";
    const string MambaReadme = "state-spaces/mamba, README.md, table of layers";
    const string Gemma = "google-deepmind/gemma, gemma/gm/nn/_gemma.py";
    const string FalconH1 = "huggingface.co/docs/transformers, model_doc/falcon_h1, table of depths";
    const string Samba = "microsoft/Samba, lit_gpt/config.py, mb_per_layer 2";

    public static IReadOnlyList<PublishedPattern> All { get; } =
    [
        Megatron("Nemotron-H-8B", Bridge + "nemotronh.py", Nemotron8B, Eight + Times(3, Ten) + Tail),
        Megatron("Nemotron-H-4B", Bridge + "nemotronh.py", Nemotron8B, Eight + Times(3, Ten) + Tail),
        Megatron("Nemotron-H-47B", Bridge + "nemotronh.py",
        "M-M-M-M-M-M-M-M-M*-M-M-M-M-M-M-M-M-M-M*-M-M-M-M-M*-M-M-M-M-M*-M-M-M-M-M-M-M---MM---M-M*-M-M-M-M-M-",
            Times(8, "M~-") + "M~T~-" + Times(9, "M~-") + "M~T~-" + Times(2, Ten) + Times(6, "M~-") + "M~--- M~ M~--- M~-M~T~-" + Tail),
        Megatron("Nemotron-H-56B", Bridge + "nemotronh.py", "M-M-M-M*-" + Times(9, "M-M-M-M-M*-") + "M-M-M-M-M-", Eight + Times(9, Ten) + Tail),
        Megatron("Nemotron-Nano-9B-v2", Bridge + "nemotron_nano_v2.py", "M-M-M-MM-M-M-M*-M-M-M*-M-M-M-M*-M-M-M-M*-M-MM-M-M-M-M-M-",
            "M~-M~-M~-M~ M~-M~-M~-M~T~-M~-M~-M~T~-M~-M~-M~-M~T~-M~-M~-M~-M~T~-M~-M~ M~-M~-M~-M~-M~-M~-"),
        Megatron("Nemotron-Nano-12B-v2", Bridge + "nemotron_nano_v2.py", "M-M-M-M*-M-M-M-M*-M-M-M-M*-M-M-M-M*-M-M-M-M*-M-M-M-M*-M-M-M-M-",
        Times(6, "M~-M~-M~-M~T~-") + "M~-M~-M~-M~-"),
        Megatron("Nemotron-3-Nano-4B", Bridge + "nemotron_3_nano_4b.py", "M-M-M-MM-M-M*-M-M*-M-M-M*-M-M-MM*-MMM-M-M-",
            "M~-M~-M~-M~ M~-M~-M~T~- M~-M~T~- M~-M~-M~T~- M~-M~-M~ M~T~- M~ M~ M~-M~-M~-"),
        Megatron("Nemotron-3-Nano-30B-A3B", Bridge + "nemotron_3_nano.py", "MEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEMEM*EMEMEMEME",
            "M~-eM~-eM~T~-e" + Times(4, "M~-eM~-eM~T~-e") + "M~-eM~-eM~-eM~T~-e" + "M~-eM~-eM~-eM~-e"),
        Megatron("mamba2-130m", MambaReadme, new string('M', 24), Times(24, "M~")),
        Megatron("mamba2-2.7b", MambaReadme, new string('M', 64), Times(64, "M~")),
        Repeated("mamba-130m", MambaReadme, 24, ["bare mamba"], "m~", 24),
        Repeated("mamba-2.8b", MambaReadme, 64, ["bare mamba"], "m~", 64),
        Indices("mamba2attn-2.7b", "its config.json, attn_layer_idx; arXiv 2405.21060, section 9.2.3", 64, [9, 18, 27, 36, 45, 56], "T", "M", true,
            Times(9, "M~") + "T~" + Times(4, Times(8, "M~") + "T~") + Times(10, "M~") + "T~" + Times(7, "M~")),
        Period("Jamba-v0.1", Transformers + "jamba, the defaults", new(32, 8, 4, 2, 1), Times(4, "m me m me T me m me")),
        Period("Jamba-Reasoning-3B", "its config.json, attn_layer_period and attn_layer_offset", new(28, 14, 7), Times(2, "mmmmmmmTmmmmmm")),
        Period("Llama-3.2-1B", "its config.json, num_hidden_layers; allenai/OLMo-core, TransformerConfig.llama3_1B", new(16, 1, 0),
        new string('T', 16)),
        Indices("Bamba-9B", "its config.json, attn_layer_indices", 32, [9, 18, 27], "T", "M", false, "MMMMMMMMM T MMMMMMMM T MMMMMMMM T MMMM"),
        Indices("Zamba2-2.7B", Transformers + "zamba2, the defaults; the shared block as a mixer Z", 54, [6, 12, 18, 24, 30, 36, 42, 47, 51], "Z",
        "M", true,
            "M~" + Times(7, Times(5, "M~") + "Z~") + "M~M~M~M~Z~M~M~M~Z~M~M~"),
        Indices("LFM2-350M", "its config.json, full_attn_idxs; convolutions as C", 16, [2, 5, 8, 10, 12, 14], "T", "C", false,
        "CCT CCT CCT CT CT CT C"),
        Indices("Kimi-Linear-48B-A3B", "its config.json, full_attn_layers, there from 1; delta attention as K", 27, [3, 7, 11, 15, 19, 23, 26], "T",
        "K", false, Times(6, "KKKT") + "KKT"),
        Indices("Qwen3.5-35B-A3B", "its config.json, 40 layers, full_attention_interval 4; gated delta net as G", 40,
        [3, 7, 11, 15, 19, 23, 27, 31, 35, 39], "T", "G", false, Times(10, "GGGT")),
        Words("Granite-4.0-H-Micro", "its config.json, layer_types", [.. Enumerable.Range(0, 40).Select(i => i % 10 == 5 ? "attention" : "mamba")],
        "M", Times(4, "MMMMMTMMMM")),
        Words("Granite-4.0-H-350M", "its config.json, layer_types",
        [.. Enumerable.Range(0, 32).Select(i => i is 10 or 13 or 17 or 27 ? "attention" : "mamba")], "M",
            "MMMMMMMMMM T MM T MMM T MMMMMMMMM T MMMM"),
        Words("Qwen3-Next-80B-A3B", Transformers + "qwen3_next, the defaults",
        [.. Enumerable.Range(0, 48).Select(i => i % 4 == 3 ? "full_attention" : "linear_attention")], "G", Times(12, "GGGT")),
        Words("Olmo-3-7B", "allenai/OLMo-core, TransformerConfig.olmo3_7B",
        [.. Enumerable.Range(0, 32).Select(i => i % 4 == 3 ? "full_attention" : "sliding_attention")], "M", Times(8, "SSST")),
        Words("Gemma-2-2B", Gemma, [.. Enumerable.Range(0, 26).Select(i => i % 2 == 1 ? "full_attention" : "sliding_attention")], "M",
        Times(13, "ST")),
        Words("Gemma-2-9B", Gemma, [.. Enumerable.Range(0, 42).Select(i => i % 2 == 1 ? "full_attention" : "sliding_attention")], "M",
        Times(21, "ST")),
        Words("Gemma-3-1B", Gemma, [.. Enumerable.Range(0, 26).Select(i => i % 6 == 5 ? "full_attention" : "sliding_attention")], "M",
        Times(4, "SSSSST") + "SS"),
        Words("Gemma-3-27B", Gemma, [.. Enumerable.Range(0, 62).Select(i => i % 6 == 5 ? "full_attention" : "sliding_attention")], "M",
        Times(10, "SSSSST") + "SS"),
        Words("gpt-oss-120b", "openai/gpt-oss, gpt_oss/torch/model.py",
        [.. Enumerable.Range(0, 36).Select(i => i % 2 == 1 ? "full_attention" : "sliding_attention")], "M", Times(18, "ST")),
        Words("RecurrentGemma-2B", Transformers + "recurrent_gemma, block_types",
        [.. Enumerable.Range(0, 26).Select(i => i % 3 == 2 ? "sliding_attention" : "recurrent")], "R", Times(8, "RRS") + "RR"),
        Words("Falcon-H1-0.5B", FalconH1, [.. Enumerable.Repeat("hybrid", 36)], "M", new string('H', 36)),
        Words("Falcon-H1-1.5B-Deep", FalconH1, [.. Enumerable.Repeat("hybrid", 66)], "M", new string('H', 66)),
        Words("Falcon-H1-34B", FalconH1, [.. Enumerable.Repeat("hybrid", 72)], "M", new string('H', 72)),
        Repeated("Olmo-Hybrid-7B", "allenai/OLMo-core, scripts/official/OLMo-hybrid, block_pattern; gated delta net as G", 32,
        ["gdn", "gdn", "gdn", "attn"], "GGGT", 8),
        Repeated("Samba-421M", Samba, 12, ["mamba", "swa"], "mS", 6),
        Repeated("Samba-1.3B", Samba, 18, ["mamba", "swa"], "mS", 9),
        Repeated("MiniMax-Text-01", "MiniMax-AI/MiniMax-01, model card: softmax attention after every seven; lightning attention as L", 80,
            ["lightning", "lightning", "lightning", "lightning", "lightning", "lightning", "lightning", "attn"], "LLLLLLLT", 10),
    ];

    static string Times(int count, string text) => string.Concat(Enumerable.Repeat(text, count));

    static PublishedPattern Megatron(string name, string source, string pattern, string expected)
    {
        var blocks = MegatronPattern.Parse(pattern);
        return Of(name, source, blocks, expected,
            MegatronPattern.Print(blocks) == pattern && MegatronPattern.Print(MegatronPattern.Parse(pattern, fold: true)) == pattern);
    }

    static PublishedPattern Period(string name, string source, PeriodPattern pattern, string expected) =>
        Of(name, source, pattern.Blocks(), expected, PeriodPattern.From(pattern.Blocks())! == pattern);

    static PublishedPattern Indices(string name, string source, int depth, int[] indices, string attention, string other, bool bare, string expected)
    {
        var blocks = AttentionIndices.Parse(depth, indices, attention, other, bare);
        return Of(name, source, blocks, expected, AttentionIndices.Print(blocks, attention).SequenceEqual(indices));
    }

    static PublishedPattern Words(string name, string source, string[] words, string linear, string expected)
    {
        var blocks = LayerTypes.Parse(words, linear);
        var now = words.Select(word => word switch { "attention" => "full_attention", "mamba" or "recurrent" => "linear_attention", _ => word });
        return Of(name, source, blocks, expected, LayerTypes.Print(blocks).SequenceEqual(now));
    }

    static PublishedPattern Repeated(string name, string source, int depth, string[] names, string unit, int repeat)
    {
        var blocks = RepeatedPattern.Parse(depth, names, kinds);
        return Of(name, source, blocks, Times(repeat, unit), RepeatedPattern.From(blocks).ToString() == $"{repeat} x {unit}");
    }

    static PublishedPattern Of(string name, string source, EquatableList<PatternBlock> blocks, string expected, bool printsBack) =>
        new(name, source, blocks, expected.Replace(" ", ""), printsBack);
}
