using System.Globalization;
using HybridArchitectures.Checkpoints;
using HybridArchitectures.Design;
using HybridArchitectures.Storage;

namespace HybridArchitectures.Cli.Inputs;

/// <summary>
/// Reads a design from the command line: a JSON file, a checkpoint folder, the name of a recipe, or a pattern with sizes such as
/// <c>MMTM:width=256,vocabulary=256,heads=4,state=16,feed=512</c>.
/// </summary>
static class DesignArgument
{
    public const string Description =
        "A design file (.json), the folder of a checkpoint or of a run, the name of a recipe, or a pattern with sizes: "
            + "MMTM:width=256,vocabulary=256,heads=4,kv=2,state=16,head=32,window=128,feed=512,repeat=2.";

    static readonly string[] Known = ["width", "vocabulary", "heads", "kv", "state", "head", "window", "feed", "repeat"];

    /// <summary>Reads a design.</summary>
    /// <param name="text">The argument.</param>
    /// <param name="name">The name of the design, or null to keep its name.</param>
    public static HybridDesign Parse(string text, string? name = null)
    {
        var design = Find(text);
        return name is null ? design : design with { Name = name };
    }

    static HybridDesign Find(string text)
    {
        Require.NotBlank(text);
        if (Directory.Exists(text)) return LoadFolder(ModelFolder.Resolve(text));
        if (File.Exists(text)) return HybridDesign.FromJson(BoundedFile.ReadText(text, BoundedFile.MaxTextBytes));
        if (Recipes.All.FirstOrDefault(recipe => string.Equals(recipe.Name, text,
            StringComparison.OrdinalIgnoreCase)) is { } recipe) return recipe.Design;
        // the names of recipes contain ratios, such as 1:5
        int colon = text.IndexOf(':', StringComparison.Ordinal);
        if (colon >= 0 && (colon == text.Length - 1 || text.IndexOf('=', colon) > colon)) return FromPattern(text);
        throw Require.Unfit("design", $"design is '{text}'", "a file, a folder, a recipe (such as "
            + $"{string.Join(", ", Recipes.All.Take(3).Select(known => known.Name))}) "
            + "or a pattern with sizes (such as MMTM:width=256,vocabulary=256,heads=4)");
    }

    public static HybridDesign LoadFolder(string folder) => File.Exists(Path.Combine(folder, Checkpoint.DesignFile)) ? Checkpoint.LoadDesign(folder)
        : PretrainedModel.LoadDesign(folder);

    static HybridDesign FromPattern(string text)
    {
        int colon = text.IndexOf(':', StringComparison.Ordinal);
        string pattern = text[..colon];
        var sizes = Sizes(text[(colon + 1)..]);
        int Size(string key, int otherwise) => sizes.GetValueOrDefault(key, otherwise);
        int width = sizes.TryGetValue("width", out int given) ? given
            : throw Require.Unfit("design", $"design is '{text}', without a width", "width=N after the pattern");
        var builder = HybridDesign.Create(width, Size("vocabulary", 256)).Name(text);
        int heads = Size("heads", Math.Max(1, width / 64));
        if (pattern.Contains('T', StringComparison.Ordinal)) builder = builder.WithAttention(heads, Size("kv", 0));
        if (pattern.Contains('S', StringComparison.Ordinal)) builder = builder.WithSlidingWindow(Size("window", 128), heads: heads,
            keyValueHeads: Size("kv", 0));
        if (pattern.Contains('M', StringComparison.Ordinal)) builder = builder.WithMamba2(Size("state", 0), Size("head", 0));
        if (pattern.Contains('m', StringComparison.Ordinal)) builder = builder.WithMamba1(stateSize: Size("state", 0));
        if (Size("feed", 0) is > 0 and var feed) builder = builder.WithFeedForward(FeedForwardSpec.SwiGlu(feed));
        return builder.Pattern(pattern, Size("repeat", 1)).Build();
    }

    static Dictionary<string, int> Sizes(string text)
    {
        var sizes = new Dictionary<string, int>();
        foreach (string part in text.Split(',', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries))
        {
            string[] pair = part.Split('=');
            if (pair.Length != 2 || !Known.Contains(pair[0]) || !int.TryParse(pair[1], NumberStyles.None, CultureInfo.InvariantCulture,
                out int value))
                throw Require.Unfit("design", $"design size is '{part}'",
                    $"one of {string.Join(", ", Known)} with a whole number, such as width=256");
            sizes[pair[0]] = value;
        }
        return sizes;
    }
}
