using HybridArchitectures.Cost;
using HybridArchitectures.Design;

namespace HybridArchitectures.Reports.Drawing;

/// <summary>
/// Lays out a design as a strip: embedding, one column per layer (mixer, feed-forward, number) in as many rows as necessary, and head. A legend of
/// all kinds of parts with their sizes is below it.
/// </summary>
sealed class StripPicture
{
    const float Margin = 16, Cell = 34, Gap = 6, Mixer = 46, FeedForward = 18, Between = 3, End = 24, Number = 22, Line = 22, Bar = 26, Caption = 16;
    const int MaxRowLength = 20;

    readonly HybridDesign design;
    readonly (string Caption, double[] Values, string Unit)[] costs;
    readonly List<Shape> shapes = [];
    float right, y = Margin;

    StripPicture(HybridDesign design, int sequenceLength) =>
        (this.design, costs) = (design, sequenceLength == 0 ? [] : Costs(design, sequenceLength));

    /// <summary>Lays out a design.</summary>
    /// <param name="design">The design, with all sizes derived.</param>
    /// <param name="heading">Whether name and sizes are above the strip. The default is true.</param>
    /// <param name="sequenceLength">The sequence length for the bars of cost below each layer. The default, 0, draws no bars.</param>
    public static Picture Create(HybridDesign design, bool heading = true, int sequenceLength = 0)
    {
        var strip = new StripPicture(design, sequenceLength);
        var sizes = Sizes(design);
        if (heading) strip.Heading(sizes);
        strip.Rows();
        strip.Legend();
        var name = Name(design);
        return new(strip.right + Margin, strip.y + Margin - 6, name, $"{name}: {sizes}; layers {design.Pattern}, first to last.", strip.shapes);
    }

    static (string, double[], string)[] Costs(HybridDesign design, int length)
    {
        var cost = design.Cost(length);
        return
        [
            ("parameters", [.. cost.Parameters.Blocks.Select(block => (double)block.Total)], ""),
            ($"training FLOPs per token, sequence length {Figures.Full(length)}", [.. cost.Flops().Blocks.Select(block => 3 * block.Total)], " FLOP"),
            ($"cache of one row after {Figures.Full(length)} tokens, bfloat16",
                [.. design.Blocks.Select(block => (double)CacheSize.FromDesign(design, block, length, 2).Total)], " bytes"),
        ];
    }

    /// <summary>Returns the name of the design.</summary>
    public static string Name(HybridDesign design) => string.IsNullOrWhiteSpace(design.Name) ? design.Pattern : design.Name;

    /// <summary>Returns depth, width, vocabulary size and parameters as text.</summary>
    public static string Sizes(HybridDesign design)
    {
        var count = ParameterCount.FromDesign(design);
        var layers = design.Depth == 1 ? "1 layer" : $"{design.Depth} layers";
        var active = count.Active == count.Total ? "" : $", {Figures.Short(count.Active)} active";
        return $"{layers}, width {Figures.Full(design.Width)}, vocabulary {Figures.Full(design.VocabularySize)}, "
            + $"{Figures.Short(count.Total)} parameters ({Figures.Short(count.NonEmbedding)} without embedding{active})";
    }

    void Heading(string sizes)
    {
        Write(Margin, y + 8, 16, new Shape.Words(Name(design), Inks.Text, Bold: true));
        Write(Margin, y + 31, 12, new Shape.Words(sizes, Inks.Soft));
        y += 52;
    }

    void Rows()
    {
        int rows = (design.Depth + MaxRowLength - 1) / MaxRowLength, perRow = (design.Depth + rows - 1) / rows;
        const float column = Mixer + Between + FeedForward;
        for (int row = 0; row < rows; row++)
        {
            int first = row * perRow, count = Math.Min(perRow, design.Depth - first);
            float x = Margin, start = x + End + Gap;
            bool last = first + count == design.Depth;
            float end = start + count * (Cell + Gap);
            // the residual stream is behind everything
            shapes.Add(new Shape.Segment(row == 0 ? x + End : start - Gap, y + column / 2, last ? end : end - Gap + 10, y + column / 2, Inks.Line,
                2));
            if (row == 0) Terminal("embedding", x, column);
            for (int i = 0; i < count; i++) Layer(first + i, start + i * (Cell + Gap));
            if (last) Terminal(design.TiedHead ? "head, tied" : "head", end, column);
            right = Math.Max(right, last ? end + End : end - Gap + 10);
            y += column + Number;
            foreach (var (caption, values, unit) in costs) Bars(caption, values, unit, first, count, start);
            if (costs.Length > 0) y += Gap;
        }
        y += 14;
    }

    // one bar per layer of a row, with one scale for all rows
    void Bars(string caption, double[] values, string unit, int first, int count, float start)
    {
        double maxValue = values.Max();
        Write(start, y + Caption / 2, 10.5f, new Shape.Words(caption, Inks.Soft),
            new Shape.Words($"up to {Figures.Short(maxValue)}{unit} a layer", Inks.Soft));
        y += Caption;
        for (int i = 0; i < count; i++)
        {
            double value = values[first + i];
            float x = start + i * (Cell + Gap), height = maxValue > 0 ? (float)(Bar * value / maxValue) : 0;
            shapes.Add(new Shape.Group("cost", $"layer {first + i + 1}: {caption} {Figures.Short(value)}{unit}",
            [
                new Shape.Box(x, y, Cell, Bar, 2, Inks.Plain),
                new Shape.Box(x, y + Bar - height, Cell, height, 2, Inks.FeedForward),
            ]));
        }
        y += Bar + Gap;
    }

    void Terminal(string name, float x, float height) => shapes.Add(new Shape.Group("terminal", name,
    [
        new Shape.Box(x, y, End, height, 5, Inks.Plain),
        new Shape.Text(x + End / 2, y + height / 2, name, 10.5f, Inks.Text, Anchor.Middle, Turned: true),
    ]));

    void Layer(int index, float x)
    {
        var block = design.Blocks[index];
        PartLook mixer = PartLook.From(design, block), feedForward = PartLook.From(block.FeedForward);
        List<Shape> column = [];
        column.Add(new Shape.Box(x, y, Cell, Mixer, 5, mixer.Fill ?? Inks.Paper, mixer.Second, mixer.Fill is null ? Inks.Line : null,
            mixer.Fill is null, "mixer"));
        column.AddRange(Letter(mixer, x + Cell / 2, y + Mixer / 2, 16));
        column.AddRange(FeedForwardBoxes(block.FeedForward, feedForward, x, y + Mixer + Between, Cell, FeedForward));
        column.Add(new Shape.Text(x + Cell / 2, y + Mixer + Between + FeedForward + 10, $"{index + 1}", 10.5f, Inks.Soft, Anchor.Middle));
        shapes.Add(new Shape.Group("layer", $"layer {index + 1}: {Words(mixer)}; {Words(feedForward)}", column));
    }

    static IEnumerable<Shape> Letter(PartLook look, float x, float middle, float size)
    {
        if (look.Letter.Length == 0) yield break;
        // no single colour is readable on both halves of a split box
        if (look.Second is not null)
            yield return new Shape.Box(x - size * 0.65f, middle - size * 0.6f, size * 1.3f, size * 1.2f, size * 0.25f, Inks.Paper);
        yield return new Shape.Text(x, middle, look.Letter, size, look.OnFill, Anchor.Middle, Bold: true);
    }

    static IEnumerable<Shape> FeedForwardBoxes(FeedForwardSpec spec, PartLook look, float x, float y, float width, float height)
    {
        if (look.Fill is null) return [new Shape.Box(x + 0.5f, y + 0.5f, width - 1, height - 1, 4, null, null, Inks.Line, Dashed: true)];
        // a mixture is drawn as several small boxes
        int cells = spec is MixtureOfExpertsSpec ? 3 : 1;
        float cell = (width - 2 * (cells - 1)) / cells;
        return Enumerable.Range(0, cells)
            .Select(i => new Shape.Box(x + i * (cell + 2), y, cell, height, cells == 1 ? 4 : 3, look.Fill, Class: "feed-forward"));
    }

    void Legend()
    {
        foreach (var group in design.Blocks.Select((block, index) => (Block: block, Layer: index + 1))
            .GroupBy(entry => (entry.Block.Mixer, entry.Block.Shared?.Transformer)))
        {
            var look = PartLook.From(design, group.First().Block);
            var swatch = new Shape.Box(Margin, y - 7, 22, 14, 3, look.Fill, look.Second, look.Fill is null ? Inks.Line : null, look.Fill is null);
            Entry([swatch, .. Letter(look, Margin + 11, y, 10)], look, [.. group.Select(entry => entry.Layer)]);
        }
        foreach (var group in design.Blocks.Select((block, index) => (block.FeedForward, Layer: index + 1)).GroupBy(entry => entry.FeedForward))
        {
            var look = PartLook.From(group.Key);
            Entry(FeedForwardBoxes(group.Key, look, Margin, y - 4, 22, 9), look, [.. group.Select(entry => entry.Layer)]);
        }
    }

    void Entry(IEnumerable<Shape> swatch, PartLook look, int[] layers)
    {
        shapes.AddRange(swatch);
        List<Shape.Words> words = [new(look.Name, Inks.Text, Bold: true)];
        if (look.Details.Length > 0) words.Add(new(look.Details, Inks.Text));
        if (layers.Length < design.Depth) words.Add(new($"{(layers.Length == 1 ? "layer" : "layers")} {Runs(layers)}", Inks.Soft));
        Write(Margin + 32, y, 12, [.. words]);
        y += Line;
    }

    /// <summary>Formats ascending numbers with neighbours joined: 1–4, 6.</summary>
    public static string Runs(IReadOnlyList<int> numbers)
    {
        var runs = new List<string>();
        for (int i = 0; i < numbers.Count;)
        {
            int end = i;
            while (end + 1 < numbers.Count && numbers[end + 1] == numbers[end] + 1) end++;
            runs.Add(end == i ? $"{numbers[i]}" : end == i + 1 ? $"{numbers[i]}, {numbers[end]}" : $"{numbers[i]}–{numbers[end]}");
            i = end + 1;
        }
        return string.Join(", ", runs);
    }

    static string Words(PartLook look) => look.Details.Length > 0 ? $"{look.Name}, {look.Details}" : look.Name;

    void Write(float x, float middle, float size, params Shape.Words[] words)
    {
        shapes.Add(new Shape.Sentence(x, middle, size, words));
        // the font of an SVG viewer may be wider than ours
        float width = words.Sum(part => ReportFont.Measure(part.Content, size, part.Bold) * 1.15f) + (words.Length - 1) * size * Shape.Sentence.Gap;
        right = Math.Max(right, x + width);
    }
}
