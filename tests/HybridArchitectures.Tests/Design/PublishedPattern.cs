using HybridArchitectures.Design;

namespace HybridArchitectures.Tests.Design;

/// <summary>A published model's layers, as its makers write them and in the notation here.</summary>
/// <param name="Name">The model.</param>
/// <param name="Source">Where its makers write the layers.</param>
/// <param name="Blocks">Read from their notation.</param>
/// <param name="Expected">The same as a pattern string, white space free.</param>
/// <param name="PrintsBack">Whether the blocks give their notation again.</param>
sealed record PublishedPattern(string Name, string Source, EquatableList<PatternBlock> Blocks, string Expected, bool PrintsBack)
{
    const string Nemotron8B = "M-M-M-M*-M-M-M-M-M*-M-M-M-M-M*-M-M-M-M-M*-M-M-M-M-M-";
    const string Eight = "M~-M~-M~-M~T~-", Ten = "M~-M~-M~-M~-M~T~-", Tail = "M~-M~-M~-M~-M~-";

    static readonly Dictionary<string, string> kinds = new() { ["gdn"] = "G", ["attn"] = "T", ["mamba"] = "m", ["swa"] = "S", ["lightning"] = "L", ["bare mamba"] = "m~" };

    public static IReadOnlyList<PublishedPattern> All { get; } =
    [
        Megatron("Nemotron-H-8B", Nemotron8B, Eight + Times(3, Ten) + Tail),
        Megatron("Nemotron-H-4B", Nemotron8B, Eight + Times(3, Ten) + Tail),
        Megatron("Nemotron-H-56B", "M-M-M-M*-" + Times(9, "M-M-M-M-M*-") + "M-M-M-M-M-", Eight + Times(9, Ten) + Tail),
        Megatron("Nemotron-Nano-9B-v2", "M-M-M-MM-M-M-M*-M-M-M*-M-M-M-M*-M-M-M-M*-M-MM-M-M-M-M-M-",
            "M~-M~-M~-M~ M~-M~-M~-M~T~-M~-M~-M~T~-M~-M~-M~-M~T~-M~-M~-M~-M~T~-M~-M~ M~-M~-M~-M~-M~-M~-"),
        Megatron("Nemotron-Nano-12B-v2", "M-M-M-M*-M-M-M-M*-M-M-M-M*-M-M-M-M*-M-M-M-M*-M-M-M-M*-M-M-M-M-", Times(6, "M~-M~-M~-M~T~-") + "M~-M~-M~-M~-"),
        Megatron("Nemotron-3-Nano-30B-A3B", "MEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEMEM*EMEMEMEME",
            "M~-eM~-eM~T~-e" + Times(4, "M~-eM~-eM~T~-e") + "M~-eM~-eM~-eM~T~-e" + "M~-eM~-eM~-eM~-e"),
        Megatron("mamba2-130m", new string('M', 24), Times(24, "M~")),
        Megatron("mamba2-2.7b", new string('M', 64), Times(64, "M~")),
        Period("Jamba-v0.1", new(32, 8, 4, 2, 1), Times(4, "m me m me T me m me")),
        Period("Jamba-1.5-Mini", new(32, 8, 4, 2, 1), Times(4, "m me m me T me m me")),
        Period("Jamba-1.5-Large", new(72, 8, 4, 2, 1), Times(9, "m me m me T me m me")),
        Period("Jamba-Reasoning-3B", new(28, 14, 7), Times(2, "mmmmmmmTmmmmmm")),
        Period("Llama-3.2-1B", new(16, 1, 0), new string('T', 16)),
        Indices("mamba2attn-2.7b", "attn_layer_idx", 64, [9, 18, 27, 36, 45, 56], "T", "M", true,
            Times(9, "M~") + "T~" + Times(4, Times(8, "M~") + "T~") + Times(10, "M~") + "T~" + Times(7, "M~")),
        Indices("Bamba-9B", "attn_layer_indices", 32, [9, 18, 27], "T", "M", false, "MMMMMMMMM T MMMMMMMM T MMMMMMMM T MMMM"),
        Indices("Zamba2-1.2B", "hybrid_layer_ids; the shared block as a mixer Z", 38, [5, 11, 17, 23, 29, 35], "Z", "M", true, Times(6, Times(5, "M~") + "Z~") + "M~M~"),
        Indices("Zamba2-2.7B", "hybrid_layer_ids; the shared block as a mixer Z", 54, [6, 12, 18, 24, 30, 36, 42, 47, 51], "Z", "M", true,
            "M~" + Times(7, Times(5, "M~") + "Z~") + "M~M~M~M~Z~M~M~M~Z~M~M~"),
        Indices("LFM2-1.2B", "full_attn_idxs; convolutions as C", 16, [2, 5, 8, 10, 12, 14], "T", "C", false, "CCT CCT CCT CT CT CT C"),
        Indices("Kimi-Linear-48B-A3B", "full_attn_layers, there from 1; delta attention as K", 27, [3, 7, 11, 15, 19, 23, 26], "T", "K", false, Times(6, "KKKT") + "KKT"),
        Indices("Qwen3.5-35B-A3B", "full attention every fourth; gated delta net as G", 40, [3, 7, 11, 15, 19, 23, 27, 31, 35, 39], "T", "G", false, Times(10, "GGGT")),
        Words("Granite-4.0-H-Tiny", [.. Enumerable.Range(0, 40).Select(i => i % 10 == 5 ? "attention" : "mamba")], "M", Times(4, "MMMMMTMMMM")),
        Words("Granite-4.0-H-Small", [.. Enumerable.Range(0, 40).Select(i => i % 10 == 5 ? "attention" : "mamba")], "M", Times(4, "MMMMMTMMMM")),
        Words("Qwen3-Next-80B-A3B", [.. Enumerable.Range(0, 48).Select(i => i % 4 == 3 ? "full_attention" : "linear_attention")], "G", Times(12, "GGGT")),
        Words("Olmo-3-7B", [.. Enumerable.Range(0, 32).Select(i => i % 4 == 3 ? "full_attention" : "sliding_attention")], "M", Times(8, "SSST")),
        Words("Gemma-2-2B", [.. Enumerable.Range(0, 26).Select(i => i % 2 == 1 ? "full_attention" : "sliding_attention")], "M", Times(13, "ST")),
        Words("Gemma-3-1B", [.. Enumerable.Range(0, 26).Select(i => i % 6 == 5 ? "full_attention" : "sliding_attention")], "M", Times(4, "SSSSST") + "SS"),
        Words("gpt-oss-20b", [.. Enumerable.Range(0, 24).Select(i => i % 2 == 1 ? "full_attention" : "sliding_attention")], "M", Times(12, "ST")),
        Words("RecurrentGemma-2B", [.. Enumerable.Range(0, 26).Select(i => i % 3 == 2 ? "sliding_attention" : "recurrent")], "R", Times(8, "RRS") + "RR"),
        Words("Falcon-H1-0.5B", [.. Enumerable.Repeat("hybrid", 36)], "M", new string('H', 36)),
        Words("Falcon-H1-1.5B-Deep", [.. Enumerable.Repeat("hybrid", 66)], "M", new string('H', 66)),
        Repeated("Olmo-Hybrid-7B", "block_pattern of OLMo-core; gated delta net as G", 32, ["gdn", "gdn", "gdn", "attn"], "GGGT", 8),
        Repeated("Samba-421M", "mb_per_layer 2", 12, ["mamba", "swa"], "mS", 6),
        Repeated("MiniMax-Text-01", "softmax attention every eighth; lightning attention as L", 80,
            ["lightning", "lightning", "lightning", "lightning", "lightning", "lightning", "lightning", "attn"], "LLLLLLLT", 10),
        Repeated("mamba-130m", "n_layer", 24, ["bare mamba"], "m~", 24),
        Repeated("Falcon-Mamba-7B", "num_hidden_layers", 64, ["bare mamba"], "m~", 64),
        Repeated("Mistral-7B-v0.1", "sliding_window in every layer", 32, ["swa"], "S", 32),
        Repeated("Qwen2-0.5B", "num_hidden_layers", 24, ["attn"], "T", 24),
    ];

    static string Times(int count, string text) => string.Concat(Enumerable.Repeat(text, count));

    static PublishedPattern Megatron(string name, string pattern, string expected)
    {
        var blocks = MegatronPattern.Parse(pattern);
        return Of(name, "hybrid_override_pattern", blocks, expected, MegatronPattern.Print(blocks) == pattern && MegatronPattern.Print(MegatronPattern.Parse(pattern, fold: true)) == pattern);
    }

    static PublishedPattern Period(string name, PeriodPattern pattern, string expected) =>
        Of(name, "attn_layer_period, attn_layer_offset, expert_layer_period, expert_layer_offset", pattern.Blocks(), expected,
            PeriodPattern.From(pattern.Blocks())! == pattern);

    static PublishedPattern Indices(string name, string source, int depth, int[] indices, string attention, string other, bool bare, string expected)
    {
        var blocks = AttentionIndices.Parse(depth, indices, attention, other, bare);
        return Of(name, source, blocks, expected, AttentionIndices.Print(blocks, attention).SequenceEqual(indices));
    }

    static PublishedPattern Words(string name, string[] words, string linear, string expected)
    {
        var blocks = LayerTypes.Parse(words, linear);
        var now = words.Select(word => word switch { "attention" => "full_attention", "mamba" or "recurrent" => "linear_attention", _ => word });
        return Of(name, "layer_types, layers_block_type or what its code makes of them", blocks, expected, LayerTypes.Print(blocks).SequenceEqual(now));
    }

    static PublishedPattern Repeated(string name, string source, int depth, string[] names, string unit, int repeat)
    {
        var blocks = RepeatedPattern.Parse(depth, names, kinds);
        return Of(name, source, blocks, Times(repeat, unit), RepeatedPattern.From(blocks).ToString() == $"{repeat} x {unit}");
    }

    static PublishedPattern Of(string name, string source, EquatableList<PatternBlock> blocks, string expected, bool printsBack) =>
        new(name, source, blocks, expected.Replace(" ", ""), printsBack);
}
