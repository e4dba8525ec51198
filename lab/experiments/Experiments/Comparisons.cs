namespace HybridArchitectures.Experiments;

/// <summary>Lists the comparisons of each experiment in addition to those with its baseline. Designs are named as in the catalogue.</summary>
/// <param name="size">The sizes.</param>
sealed class Comparisons(StudySize size)
{
    const string Attention = "attention", Mamba = "mamba", Inter = "inter 1:5", Intra = "intra 1:5";

    static readonly string[] Norms = ["no", "rms", "head"], Fusions = ["difference", "add", "concat", "gate"];

    /// <summary>Gets those of the ratios.</summary>
    public IReadOnlyList<ComparisonGroup> OfRatios =>
    [
        new("Hybrids against Mamba-2", [.. ((string[])["inter 1:1", "inter 1:3", Inter, "inter 1:12", "intra 1:0", "intra 1:1", "intra 1:3", Intra,
            "intra 1:12"]).Select(name => new Comparison(Mamba, name))]),
        new("Inside layers against between layers", [.. ((string[])["1:1", "1:3", "1:5", "1:12"]).Select(ratio =>
            new Comparison($"inter {ratio}", $"intra {ratio}"))]),
        new("Other ratios against 1:5", [.. ((string[])["inter 1:1", "inter 1:3", "inter 1:12"]).Select(name => new Comparison(Inter, name)),
            .. ((string[])["intra 1:0", "intra 1:1", "intra 1:3", "intra 1:12"]).Select(name => new Comparison(Intra, name))]),
        .. size.NeedleLengths.Select(length => new ComparisonGroup($"Needles found in {length}", [.. from first in (string[])[Mamba, Attention]
            from second in (string[])[Inter, Intra]
            select new Comparison(first, second, "needle in a haystack", $"score at {length}")])),
    ];

    /// <summary>Gets those of the placements.</summary>
    public IReadOnlyList<ComparisonGroup> OfPlacements =>
    [
        new("A single attention block against one in the middle", [.. Enumerable.Range(1, size.Depth).Where(layer => layer != size.Depth / 2 + 1)
            .Select(layer => new Comparison($"attention at {size.Depth / 2 + 1}", $"attention at {layer}"))]),
        new("Other placements against an even one", [.. from kind in (string[])["inter", "intra"]
            from ratio in (string[])["1:5", "1:3", "1:1"]
            from place in (string[])(kind == "inter" ? ["front", "end"] : ["clustered", "sandwich"])
            select new Comparison($"{kind} {ratio}", $"{kind} {ratio} {place}")]),
        new("Placements against attention alone", [new(Attention, "attention at 1"), new(Attention, "inter 1:5 front"),
            new(Attention, "inter 1:3 front"), new(Attention, "inter 1:1 front")]),
    ];

    /// <summary>Gets those of blocks with both branches.</summary>
    public static IReadOnlyList<ComparisonGroup> OfBlocks =>
    [
        new("Kinds of norm", [.. from fusion in Fusions
            from output in (string[])["separate", "joint"]
            where fusion != "concat" || output == "joint"
            from pair in ((string, string)[])[("head", "no"), ("head", "rms"), ("no", "rms")]
            select new Comparison(Block(fusion, pair.Item1, output), Block(fusion, pair.Item2, output))]),
        new("Separate projections against a joint one", [.. from fusion in Fusions
            where fusion != "concat"
            from norm in Norms
            select new Comparison(Block(fusion, norm, "joint"), Block(fusion, norm, "separate"))]),
        new("Fusions of one class of functions", [.. from norm in Norms
            from fusion in (string[])["add", "concat"]
            select new Comparison(Block("difference", norm, "separate"), Block(fusion, norm, fusion == "add" ? "separate" : "joint"))]),
    ];

    // the baseline is named differently
    static string Block(string fusion, string norm, string output) =>
        (fusion, norm, output) == ("difference", "head", "separate") ? "intra 1:0" : $"{fusion}, {norm} norm, {output}";

    /// <summary>Gets those of the next checks.</summary>
    public IReadOnlyList<ComparisonGroup> OfNext
    {
        get
        {
            string[] main = [Attention, Mamba, Inter, Intra], contexts = [", context x 0.5", "", ", context x 2"];
            (string, string)[] pairs =
                [(Attention, Mamba), (Attention, Inter), (Attention, Intra), (Mamba, Inter), (Mamba, Intra), (Inter, Intra)];
            string positions = $"loss by position to {2 * size.ContextLength}";
            return
            [
                new("Changes of the hybrid of 1:3", [.. ((string[])["convolution 1:3", "linear attention 1:3", "mamba-1 1:3", "gated delta 1:3",
                    "mamba-3 1:3", "inter 1:3, no positions"]).Select(name => new Comparison("inter 1:3", name))]),
                new("Replaced attention against Mamba-2", [.. ((string[])["convolution 1:5", "linear attention 1:5", "convolution 1:3",
                    "linear attention 1:3"]).Select(name => new Comparison(Mamba, name))]),
                new("Mixers and decays", [new("gated delta 1:5", "gated delta 1:5, slow decays"),
                    .. ((string[])["gated delta", "mamba-1", "mamba-3"]).Select(name => new Comparison($"{name} 1:3", $"{name} 1:5"))]),
                new("Attention without positions", [new(Attention, "attention, no positions")]),
                new("Muon against AdamW", [.. main.Select(name => new Comparison(name, $"{name}, Muon"))]),
                new("Designs with Muon", [.. pairs.Select(pair => new Comparison($"{pair.Item1}, Muon", $"{pair.Item2}, Muon"))]),
                new("Designs at each training length", [.. from context in contexts from pair in pairs
                    select new Comparison(pair.Item1 + context, pair.Item2 + context)]),
                new("Twice against half of the training length, on the same windows", [.. main.Select(name =>
                    new Comparison($"{name}{contexts[2]}", $"{name}{contexts[0]}", positions, "loss"))]),
            ];
        }
    }

    /// <summary>Gets those of the sizes.</summary>
    public IReadOnlyList<ComparisonGroup> OfSizes
    {
        get
        {
            string[] sizes = [.. size.ScalingWidths.Select(width => width == size.Width ? "" : $", width {width}")];
            ComparisonGroup At(string title, string first, params string[] others) => new(title, [.. from other in others
                from width in sizes
                select new Comparison(first + width, other + width)]);
            return
            [
                At("Hybrids against attention of the same size", Attention, Inter, "inter 1:1", "gated delta 1:5", "gated delta 1:1"),
                At("Ratio 1:1 against 1:5", Inter, "inter 1:1"),
                At("Ratio 1:1 against 1:5 with gated delta nets", "gated delta 1:5", "gated delta 1:1"),
                At("Gated delta nets against Mamba-2 at 1:5", Inter, "gated delta 1:5"),
                At("Gated delta nets against Mamba-2 at 1:1", "inter 1:1", "gated delta 1:1"),
            ];
        }
    }
}
