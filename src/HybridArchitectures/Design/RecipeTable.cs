using HybridArchitectures.Kernels;

namespace HybridArchitectures.Design;

/// <summary>Contains the rows of the tables of the paper.</summary>
static class RecipeTable
{
    const string TruncatedMamba = "the number in Table 8 is truncated and not rounded; Tables 14-15 print 0.99 for the same model";
    const string Uniform = "The paper says only that the blocks are spread evenly. The even rule was used.";
    const string IntraReading =
        "Interpretation: queries and keys have half of the heads and the printed width. Values have the model width (value heads of width / heads, " +
        "shared by the printed key/value heads). The state-space branch has as many heads as attention and the printed inner width. The norm of a "
        + "branch, if there is " +
        "one, is per head and without weights, comes before the output projection, and replaces the gated norm of Mamba-2. ";

    static readonly (string Ratio, int Attention, int StateSpace)[] ratios =
        [("1:0", 1, 0), ("1:1", 1, 1), ("1:3", 1, 3), ("1:5", 1, 5), ("1:12", 1, 12)];

    public static IEnumerable<Recipe> Build() => [.. Size100M(), .. Size350M(), .. Size1B(), .. Size3B()];

    static IEnumerable<Recipe> Size100M()
    {
        var size = RecipeSize.M100;
        yield return Make(size, "llama", size.Llama.Depth(8), [new("Table 8", "0.10"), new("Tables 14-15", "0.10")]);
        yield return Make(size, "mamba", size.Mamba.Depth(6), [new("Table 8", "0.10")]);
        yield return Make(size, "inter-1:5", size.Inter.Depth(6).Ratio(1, 5), [new("Tables 14-15", "0.09")],
            $"{Uniform} Table 15 swaps the printed numbers of the two kinds of block: only one attention block and five Mamba blocks have "
            + "its count.");
        yield return Make(size, "intra-1:5", size.Intra(8, 2, 64, 128, 1024).Depth(6).Ratio(1, 5),
            [new("Tables 14-15", "0.10", Deviation: "0.0949 is 0.1 % short of rounding to it")],
            $"{Uniform} {IntraReading}The query width is not printed; half of the model width was used.");
    }

    static IEnumerable<Recipe> Size350M()
    {
        var size = RecipeSize.M350;
        yield return Make(size, "llama", size.Llama.Depth(14), [new("Table 8", "0.35"), new("Tables 14-15", "0.35")]);
        yield return Make(size, "swa-1:5", size.LlamaAndSliding.Depth(14).Ratio(1, 5), [],
            $"Neither the numbers of blocks nor the positions are printed. {Uniform}");
        yield return Make(size, "mamba", size.Mamba.Depth(11), [new("Table 8", "0.37"),
            new("Tables 14-15", "0.34", Deviation: "no number of these blocks has this count; Table 8 prints 0.37")]);
        yield return Make(size, "inter-1:1", size.Inter.Depth(12).Ratio(1, 1).Place(2, 4, 6, 8, 10, 12), [],
            "The positions are those printed for 1B: every second block, starting with the second.");
        yield return Make(size, "inter-1:3", size.Inter.Depth(11).Ratio(1, 3).Place(3, 6, 9), []);
        yield return Make(size, "inter-1:5", size.Inter.Depth(11).Ratio(1, 5).Place(4, 8), [new("Tables 14-15", "0.35")]);
        yield return Make(size, "inter-1:12", size.Inter.Depth(11).Ratio(1, 12).Place(6), []);
        foreach (var (ratio, attention, stateSpace) in ratios)
        {
            bool all = stateSpace == 0;
            var intra = all ? size.Intra(16, 4, 56, 96, 1792) : size.Intra(16, 4, 48, 96, 1536);
            yield return Make(size, $"intra-{ratio}", intra.Depth(11).Ratio(attention, stateSpace),
                ratio == "1:5" ? [new("Tables 14-15", "0.36")] : [],
                (all ? "" : $"{Uniform} ") + IntraReading + (all
                    ? "The widths are those of Table 20 (896 : 896). With them, and not with those of the other ratios, Llama's FLOPs for 60B "
                    + "tokens (1.9e20) are enough for 67B, as printed."
                    : "The query width is not printed; half of the model width was used. With it, Llama's FLOPs for 60B tokens (1.9e20) are "
                    + "enough for the printed tokens at every ratio (75B, 78B, 79B, 81B)."));
        }
    }

    static IEnumerable<Recipe> Size1B()
    {
        var size = RecipeSize.B1;
        yield return Make(size, "llama", size.Llama.Depth(16), [new("Table 8", "0.97"), new("Tables 14-15", "0.97")]);
        yield return Make(size, "swa-1:1", size.LlamaAndSliding.Depth(16).Ratio(1, 1).Place(2, 4, 6, 8, 10, 12, 14, 16), [],
            "The positions are not printed; those of the inter-layer hybrid with the same ratio were used.");
        yield return Make(size, "swa-1:3", size.LlamaAndSliding.Depth(16).Ratio(1, 3).Place(4, 7, 10, 13), []);
        yield return Make(size, "swa-1:5", size.LlamaAndSliding.Depth(16).Ratio(1, 5).Place(5, 9, 13), []);
        yield return Make(size, "swa-1:12", size.LlamaAndSliding.Depth(16).Ratio(1, 12), [], Uniform);
        yield return Make(size, "swa-0:1", size.Sliding.Depth(16).Ratio(0, 1), []);
        yield return Make(size, "mamba", size.Mamba.Depth(13), [new("Table 8", "0.98", Deviation: TruncatedMamba), new("Tables 14-15", "0.99")]);
        foreach (var recipe in Inter1B(size).Concat(Intra1B(size)).Concat(Experts1B(size))) yield return recipe;
    }

    static IEnumerable<Recipe> Inter1B(RecipeSize size)
    {
        yield return Make(size, "inter-1:1", size.Inter.Depth(14).Ratio(1, 1).Place(2, 4, 6, 8, 10, 12, 14), [],
            "The list of positions in the paper goes up to 16, beyond the 14 blocks. It was cut off there.");
        yield return Make(size, "inter-1:1-front", size.Inter.Depth(14).Ratio(1, 1).Place(1, 3, 5, 7, 9, 11, 13), [],
            "As inter-1:1, but starting with the first block.");
        yield return Make(size, "inter-1:3", size.Inter.Depth(13).Ratio(1, 3).Place(3, 7, 11), []);
        yield return Make(size, "inter-1:3-front", size.Inter.Depth(13).Ratio(1, 3).Place(1, 7, 11), []);
        yield return Make(size, "inter-1:3-end", size.Inter.Depth(13).Ratio(1, 3).Place(3, 7, 13), []);
        yield return Make(size, "inter-1:5", Inter15(size), [new("Tables 14-15", "0.96")]);
        yield return Make(size, "inter-1:5-front", size.Inter.Depth(13).Ratio(1, 5).Place(1, 8), []);
        yield return Make(size, "inter-1:5-end", size.Inter.Depth(13).Ratio(1, 5).Place(4, 11), []);
        yield return Make(size, "inter-1:12", size.Inter.Depth(13).Ratio(1, 12).Place(7), []);
        foreach (int position in (int[])[1, 2, 3, 4, 9, 11, 12])
            yield return Make(size, $"inter-1:12-at-{position}", size.Inter.Depth(13).Ratio(1, 12).Place(position), []);
    }

    static HybridDesignBuilder Inter15(RecipeSize size) => size.Inter.Depth(13).Ratio(1, 5).Place(4, 8);

    static IEnumerable<Recipe> Intra1B(RecipeSize size)
    {
        string notes =
            IntraReading
            + "The printed widths (16 heads in both branches, query width 1152, inner width 2304) were used for every ratio. With value heads "
            + "of 128 " +
            "(and not of 144), they give the printed counts, and Llama's FLOPs for 60B tokens (4.5e20) are enough for the printed tokens at all "
            + "ratios except 1:12 (72.4B for 73B). " +
            "The printed cache sizes of 1:0, 1:1 and 1:12 do not fit any single set of widths.";
        (string Ratio, int[] Positions, PrintedCount[] Printed)[] placed =
        [
            ("1:1", [2, 4, 6, 8, 10, 12, 13], []), ("1:1-cluster", [5, 6, 7, 8, 9, 10, 11], []), ("1:1-sandwich", [1, 2, 6, 7, 8, 12, 13], []),
            ("1:3", [4, 7, 11], []), ("1:3-cluster", [9, 10, 11], []), ("1:3-sandwich", [1, 7, 13], []),
            ("1:5", [5, 9], [new("Tables 14-15", "0.98")]), ("1:5-cluster", [9, 10], []), ("1:5-sandwich", [1, 13], []),
        ];
        yield return Make(size, "intra-1:0", Intra(size).Depth(13).Ratio(1, 0), [new("intra-layer tables", "0.95")], notes);
        foreach (var (ratio, positions, printed) in placed)
            yield return Make(size, $"intra-{ratio}", Intra(size).Depth(13).Place(positions), [.. printed], notes);
        yield return Make(size, "intra-1:12", Intra(size).Depth(13).Ratio(1, 12), [], $"{Uniform} {notes}");

        (string Name, FusionKind Fusion, BranchNorm Norm, bool Scale)[] fusions =
        [
            ("add", FusionKind.Add, BranchNorm.None, false), ("add-norm", FusionKind.Add, BranchNorm.Group, false),
            ("add-norm-scale", FusionKind.Add, BranchNorm.Group, true),
            ("difference", FusionKind.Difference, BranchNorm.None, false), ("difference-norm-scale", FusionKind.Difference, BranchNorm.Group, true),
            ("concat", FusionKind.Concat, BranchNorm.None, false), ("concat-norm", FusionKind.Concat, BranchNorm.Group, false),
            ("concat-norm-scale", FusionKind.Concat, BranchNorm.Group, true),
        ];
        foreach (var (name, fusion, norm, scale) in fusions)
            yield return Make(size, $"intra-1:0-{name}", size.Intra(16, 4, 72, 128, 2304, fusion, norm, scale).Depth(13).Ratio(1, 0), [],
                "A fusion of Table 18 with 13 blocks. The widths of the others, with joint projections over 14 or 15 blocks, are not printed. "
                + $"{notes}");
    }

    static HybridDesignBuilder Intra(RecipeSize size) => size.Intra(16, 4, 72, 128, 2304);

    static IEnumerable<Recipe> Experts1B(RecipeSize size)
    {
        const string notes = "The shared expert has half of the dense width as well, which gives the printed count. " +
            "The score multiplies the input of an expert, as in the trainer that the paper used.";
        yield return Make(size, "llama-moe", size.Llama.WithFeedForward(size.Experts).Depth(16), [new("Table 4", "3.79")], notes);
        yield return Make(size, "mamba-moe", size.Mamba.WithFeedForward(size.Experts).Depth(13), [new("Table 4", "3.28")], notes);
        yield return Make(size, "inter-1:5-moe", Inter15(size).WithFeedForward(size.Experts), [new("Table 4", "3.25")], notes);
        yield return Make(size, "intra-1:5-moe", Intra(size).WithFeedForward(size.Experts).Depth(13).Place(5, 9), [new("Table 4", "3.27")],
            notes + " The widths are those of intra-1:5.");
    }

    static IEnumerable<Recipe> Size3B()
    {
        var size = RecipeSize.B3;
        yield return Make(size, "llama", size.Llama.Depth(28), [new("Table 8", "2.78", Deviation: "2.7747 is 0.01 % short of rounding to it"),
            new("Tables 14-15", "2.82", Deviation: "28 of these blocks have 2.77; Table 8 prints 2.78")]);
        yield return Make(size, "mamba", size.Mamba.Depth(21), [new("Table 8", "2.80", Deviation: "the same model is 2.81 in Tables 14-15"),
            new("Tables 14-15", "2.81")]);
        yield return Make(size, "inter-1:5", size.Inter.Depth(22).Ratio(1, 5), [new("Tables 14-15", "2.81")], Uniform);
        yield return Make(size, "intra-1:5", size.Intra(16, 4, 96, 192, 3072).Depth(22).Ratio(1, 5),
            [new("Tables 14-15", "2.89",
            Deviation: "0.4 % above; queries narrower than half of the model width would give it, but none are printed")],
            $"{Uniform} {IntraReading}The query width is not printed; half of the model width was used.");
    }

    static Recipe Make(RecipeSize size, string name, HybridDesignBuilder builder, EquatableList<PrintedCount> printed, string notes = "")
    {
        string full = $"{size.Name}-{name}";
        return new(full, size.Name, builder.Name(full).Build(), size.Training, printed, notes.Trim());
    }
}
