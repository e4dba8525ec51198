using System.Globalization;
using System.Text;
using HybridArchitectures.Cost;
using HybridArchitectures.Design;

namespace HybridArchitectures.Tests.Design;

/// <summary>Writes docs/reference/recipes.md from the recipes.</summary>
static class RecipesDocument
{
    public static string Path { get; } = System.IO.Path.Combine(Repository.Root, "docs", "reference", "recipes.md");

    const string Introduction = """
        # Recipes

        `Recipes.Get(name)` returns the models of arXiv 2510.04800 (version 3). This page lists them with the parameters that are counted from their
        designs and the parameters that the paper prints.

        - Counts are in millions. "Active" is the number that one token uses, including the embedding. It equals the total except for mixtures of
          experts.
        - The printed numbers do not include the embedding. If a count does not round to the printed number, a letter refers to the reason.
        - A number in the last column refers to what the paper leaves open, and how it was interpreted.
        - Patterns: `T` attention, `S` sliding window, `M` Mamba-2, `H` intra-layer hybrid, each with a feed-forward.

        All recipes have a vocabulary of 128,256 tokens and a head that is tied to the embedding. `Recipe.Training` contains the training settings: a
        context length of 8,192 tokens, 2M tokens per step, and a trapezoid schedule with 25 % warm-up and 20 % cool-down.

        | part | options |
        |---|---|
        | attention | rotary positions with theta 500,000 and Llama 3's scaling by 32 |
        | sliding window | window 512, 64 sinks, theta 10,000 |
        | Mamba-2 | inner width of twice the model width, convolution width 4, one group |

        The tests write this page and fail if it is out of date. To update it, run them with `UPDATE_DOCS=1`.

        ## Sizes

        | size | width | feed-forward | heads (key-value) | Mamba-2 heads x size | state | peak learning rate | embedding |
        |---|---|---|---|---|---|---|---|

        """;

    public static string Markdown()
    {
        var text = new StringBuilder(Introduction.ReplaceLineEndings("\n"));
        foreach (string size in (string[])["100M", "350M", "1B", "3B"]) Size(text, Recipes.Get($"{size}-inter-1:5"), size);
        text.Append("\n## Models\n\n| recipe | blocks | total | non-embedding | active | printed | |\n|---|---|---:|---:|---:|---|---|\n");
        var notes = new List<string>();
        var deviations = new List<string>();
        foreach (var recipe in Recipes.All) Model(text, recipe, notes, deviations);
        text.Append("\n## Counts that do not round to the printed figure\n\n");
        for (int i = 0; i < deviations.Count; i++) Item(text, $"- {(char)('a' + i)}: ", $"{deviations[i]}.");
        text.Append("\n## What the paper leaves open\n\n");
        for (int i = 0; i < notes.Count; i++) Item(text, $"{i + 1}. ", notes[i]);
        return text.ToString();
    }

    static void Size(StringBuilder text, Recipe recipe, string size)
    {
        var attention = recipe.Design.Blocks.Select(block => block.Mixer).OfType<AttentionSpec>().First();
        var mamba = recipe.Design.Blocks.Select(block => block.Mixer).OfType<Mamba2Spec>().First();
        text.Append(CultureInfo.InvariantCulture,
            $"| {size} | {recipe.Design.Width} | {((SwiGluSpec)recipe.Design.Blocks[0].FeedForward).Width} | {attention.Heads} "
            + $"({attention.KeyValueHeads}) x {attention.HeadSize} ");
        text.Append(CultureInfo.InvariantCulture,
            $"| {mamba.Heads} x {mamba.HeadSize} | {mamba.StateSize} | {recipe.Training.PeakLearningRate:0.####} | "
            + $"{Millions(recipe.Design.CountParameters().Embedding)} |\n");
    }

    static void Model(StringBuilder text, Recipe recipe, List<string> notes, List<string> deviations)
    {
        var count = recipe.Design.CountParameters();
        string printed = string.Join(", ", recipe.Printed.Select(figure =>
            figure.Deviation is { } why ? $"{figure} [{(char)('a' + Index(deviations, why))}]" : figure.ToString()));
        string open = recipe.Notes.Length == 0 ? "" : $"{Index(notes, recipe.Notes) + 1}";
        text.Append(CultureInfo.InvariantCulture,
            $"| {recipe.Name} | `{recipe.Design.Pattern}` | {Millions(count.Total)} | {Millions(count.NonEmbedding)} | "
            + $"{Millions(count.Active)} | {printed} | {open} |\n");
    }

    // a list item in lines of at most 150 characters
    static void Item(StringBuilder text, string bullet, string content)
    {
        int column = bullet.Length;
        text.Append(bullet);
        foreach (string word in content.Split(' ', StringSplitOptions.RemoveEmptyEntries))
        {
            if (column > bullet.Length && column + 1 + word.Length > 150)
            {
                text.Append('\n').Append(' ', bullet.Length);
                column = bullet.Length;
            }
            else if (column > bullet.Length)
            {
                text.Append(' ');
                column++;
            }
            text.Append(word);
            column += word.Length;
        }
        text.Append('\n');
    }

    static string Millions(long count) => (count / 1e6).ToString("N2", CultureInfo.InvariantCulture);

    static int Index(List<string> list, string item)
    {
        if (!list.Contains(item)) list.Add(item);
        return list.IndexOf(item);
    }
}
