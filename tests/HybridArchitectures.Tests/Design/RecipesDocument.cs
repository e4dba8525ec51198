using System.Globalization;
using System.Text;
using HybridArchitectures.Design;

namespace HybridArchitectures.Tests.Design;

/// <summary>Writes docs/reference/recipes.md from the recipes.</summary>
static class RecipesDocument
{
    public static string Path { get; } = System.IO.Path.Combine(Root(), "docs", "reference", "recipes.md");

    public static string Markdown()
    {
        var text = new StringBuilder("""
            # Recipes

            The models of arXiv 2510.04800 (version 3) that `Recipes.Get(name)` gives, with the parameters counted from their designs beside those the paper prints.
            Counts are in millions. Active is what one token uses, embedding included; it is the total but for mixtures of experts. Printed figures are without the embedding (those of
            mixtures of experts too); where the count does not round to one, a letter leads to the reason. A number in the last column leads to what the paper
            leaves open and how it was read. Patterns: `T` attention, `S` sliding window, `M` Mamba-2, `H` intra-layer hybrid, each with its feed-forward.

            This page is written by the tests, which fail when it is out of date: set `UPDATE_DOCS=1` to write it anew.

            All recipes: vocabulary 128,256, head tied to the embedding, training as in `Recipe.Training` (8,192 tokens of context, 2M tokens a step, trapezoid schedule with 25 % warm-up and
            20 % cool-down). Attention: rotary with theta 500,000 and Llama 3's scaling by 32. Sliding window: 512 and 64 sinks, theta 10,000. Mamba-2: expansion 2, convolution of 4, one group.

            | size | width | feed-forward | heads (key-value) | Mamba-2 heads x size | state | peak learning rate | embedding |
            |---|---|---|---|---|---|---|---|

            """.ReplaceLineEndings("\n"));
        foreach (string size in (string[])["100M", "350M", "1B", "3B"])
        {
            var recipe = Recipes.Get($"{size}-inter-1:5");
            var attention = recipe.Design.Blocks.Select(block => block.Mixer).OfType<AttentionSpec>().First();
            var mamba = recipe.Design.Blocks.Select(block => block.Mixer).OfType<Mamba2Spec>().First();
            text.Append(CultureInfo.InvariantCulture, $"| {size} | {recipe.Design.Width} | {((SwiGluSpec)recipe.Design.Blocks[0].FeedForward).Width} | {attention.Heads} ({attention.KeyValueHeads}) x {attention.HeadSize} ");
            text.Append(CultureInfo.InvariantCulture, $"| {mamba.Heads} x {mamba.HeadSize} | {mamba.StateSize} | {recipe.Training.PeakLearningRate:0.####} | {Millions(recipe.Design.CountParameters().Embedding)} |\n");
        }
        text.Append("\n| recipe | blocks | total | non-embedding | active | printed | |\n|---|---|---:|---:|---:|---|---|\n");
        var notes = new List<string>();
        var deviations = new List<string>();
        foreach (var recipe in Recipes.All)
        {
            var count = recipe.Design.CountParameters();
            string printed = string.Join(", ", recipe.Printed.Select(figure => figure.Deviation is { } why ? $"{figure} [{(char)('a' + Index(deviations, why))}]" : figure.ToString()));
            string open = recipe.Notes.Length == 0 ? "" : $"{Index(notes, recipe.Notes) + 1}";
            text.Append(CultureInfo.InvariantCulture, $"| {recipe.Name} | `{recipe.Design.Pattern}` | {Millions(count.Total)} | {Millions(count.NonEmbedding)} | {Millions(count.Active)} | {printed} | {open} |\n");
        }
        text.Append("\n## Counts that do not round to the printed figure\n\n");
        for (int i = 0; i < deviations.Count; i++) text.Append(CultureInfo.InvariantCulture, $"- {(char)('a' + i)}: {deviations[i]}.\n");
        text.Append("\n## What the paper leaves open\n\n");
        for (int i = 0; i < notes.Count; i++) text.Append(CultureInfo.InvariantCulture, $"{i + 1}. {notes[i]}\n");
        return text.ToString();
    }

    static string Millions(long count) => (count / 1e6).ToString("N2", CultureInfo.InvariantCulture);

    static int Index(List<string> list, string item)
    {
        if (!list.Contains(item)) list.Add(item);
        return list.IndexOf(item);
    }

    static string Root()
    {
        var folder = new DirectoryInfo(AppContext.BaseDirectory);
        while (folder is not null && !File.Exists(System.IO.Path.Combine(folder.FullName, "HybridArchitectures.sln"))) folder = folder.Parent;
        return folder?.FullName ?? throw new DirectoryNotFoundException("the tests do not run inside the repository");
    }
}
