using System.Globalization;
using System.Text;

namespace HybridArchitectures.Reports.Drawing;

/// <summary>Writes a picture as SVG text.</summary>
sealed class SvgWriter
{
    /// <summary>
    /// Specifies the distance from the middle of letters to the baseline as a fraction of the font size, about half of the height of a capital.
    /// </summary>
    const float BaseLine = 0.36f;

    readonly StringBuilder text = new();
    readonly string idPrefix;
    int gradients, clips;

    SvgWriter(string idPrefix) => this.idPrefix = idPrefix;

    /// <summary>Returns a separate file, with its colours for light and dark backgrounds.</summary>
    /// <param name="picture">The picture.</param>
    /// <param name="runs">The number of runs in the picture, whose colours are needed too.</param>
    public static string Standalone(Picture picture, int runs = 0) => new SvgWriter("ha").Write(picture, runs);

    /// <summary>Returns an element inside a page that contains <see cref="Style"/>. <paramref name="id"/> must be unique in that page.</summary>
    public static string Inline(Picture picture, string id) => new SvgWriter(id).Write(picture, null);

    /// <summary>
    /// Returns an element inside a page without a title, because a browser would show it over the whole picture. The title becomes its label.
    /// </summary>
    /// <param name="picture">The picture.</param>
    /// <param name="id">The id of the element, unique in that page.</param>
    /// <param name="attributes">Further attributes of the element.</param>
    /// <param name="last">Markup after the shapes.</param>
    public static string Inline(Picture picture, string id, string attributes, string last)
    {
        var writer = new SvgWriter(id);
        writer.Add($"<svg id=\"{id}\" viewBox=\"0 0 {picture.Width:0.##} {picture.Height:0.##}\"");
        writer.Add($" role=\"img\" aria-label=\"{Escape(picture.Title)}\" {attributes}>\n");
        foreach (var shape in picture.Shapes) writer.Write(shape);
        writer.Add($"{last}</svg>\n");
        return writer.text.ToString();
    }

    /// <summary>
    /// Returns the CSS of all colours. Class <c>f-NAME</c> fills, <c>s-NAME</c> strokes, <c>c-NAME</c> colours a half of a split box, and
    /// <c>t-NAME</c> colours text.
    /// </summary>
    /// <param name="runs">The number of runs of the page, whose colours are included.</param>
    public static string Style(int runs = 0)
    {
        var inks = Inks.All.Concat(RunLook.CreateInks(runs)).ToArray();
        var css = new StringBuilder();
        void Rules(Func<Ink, string> colour, string indent)
        {
            foreach (var ink in inks)
            {
                css.Append(CultureInfo.InvariantCulture, $"{indent}.f-{ink.Name}{{fill:#{colour(ink)}}}.s-{ink.Name}{{stroke:#{colour(ink)}}}");
                css.Append(CultureInfo.InvariantCulture, $".c-{ink.Name}{{stop-color:#{colour(ink)}}}.t-{ink.Name}{{color:#{colour(ink)}}}\n");
            }
        }
        Rules(ink => ink.Light, "");
        css.Append("@media (prefers-color-scheme:dark){\n");
        Rules(ink => ink.Dark, "  ");
        css.Append("}\n");
        return css.ToString();
    }

    /// <summary>Escapes markup. Control characters that XML forbids become U+FFFD.</summary>
    public static string Escape(string value)
    {
        var escaped = new StringBuilder(value.Length);
        for (int i = 0; i < value.Length; i++)
        {
            char c = value[i];
            bool pair = char.IsHighSurrogate(c) && i + 1 < value.Length && char.IsLowSurrogate(value[i + 1]);
            if (pair) escaped.Append(c).Append(value[++i]);
            else escaped.Append(c switch
            {
                '&' => "&amp;",
                '<' => "&lt;",
                '>' => "&gt;",
                '"' => "&quot;",
                '\'' => "&#39;",
                '\t' or '\n' or '\r' => c.ToString(),
                < ' ' or '\uFFFE' or '\uFFFF' => "\uFFFD",
                _ when char.IsSurrogate(c) => "\uFFFD",
                _ => c.ToString(),
            });
        }
        return escaped.ToString();
    }

    string Write(Picture picture, int? runs)
    {
        Add($"<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {picture.Width:0.##} {picture.Height:0.##}\"");
        Add($" width=\"{picture.Width:0.##}\" height=\"{picture.Height:0.##}\"");
        Add($" role=\"img\" aria-labelledby=\"{idPrefix}-title {idPrefix}-desc\"");
        Add($" font-family=\"Inter, 'Segoe UI', 'Helvetica Neue', Arial, sans-serif\">\n");
        Add($"<title id=\"{idPrefix}-title\">{Escape(picture.Title)}</title>\n<desc id=\"{idPrefix}-desc\">{Escape(picture.Description)}</desc>\n");
        if (runs is { } count) Add($"<style>\n{Style(count)}</style>\n");
        foreach (var shape in picture.Shapes) Write(shape);
        Add($"</svg>\n");
        return text.ToString();
    }

    void Write(Shape shape)
    {
        switch (shape)
        {
            case Shape.Box box: Write(box); break;
            case Shape.Text line: Write(line); break;
            case Shape.Sentence sentence: Write(sentence); break;
            case Shape.Segment segment:
                Add($"<line x1=\"{segment.X1:0.##}\" y1=\"{segment.Y1:0.##}\" x2=\"{segment.X2:0.##}\" y2=\"{segment.Y2:0.##}\"");
                Stroke(segment.Stroke, segment.Width, segment.Opacity, segment.Dash);
                Add($"/>\n");
                break;
            case Shape.Curve curve:
                Add($"<path fill=\"none\" stroke-linejoin=\"round\" stroke-linecap=\"round\" d=\"");
                for (int i = 0; i < curve.Points.Count; i++) Add($"{(i == 0 ? 'M' : 'L')}{curve.Points[i].X:0.#} {curve.Points[i].Y:0.#}");
                Add($"\"");
                Stroke(curve.Stroke, curve.Width, curve.Opacity, curve.Dash);
                Add($"/>\n");
                break;
            case Shape.Circle circle: Write(circle); break;
            case Shape.Clip clip: Write(clip); break;
            case Shape.Shifted shifted:
                Add($"<g transform=\"translate({shifted.X:0.##} {shifted.Y:0.##})\">\n");
                foreach (var inner in shifted.Shapes) Write(inner);
                Add($"</g>\n");
                break;
            case Shape.Group group:
                Add($"<g class=\"{Escape(group.Class)}\"><title>{Escape(group.Title)}</title>\n");
                foreach (var inner in group.Shapes) Write(inner);
                Add($"</g>\n");
                break;
            default: throw Require.Unfit(nameof(shape), $"shape is a {shape.GetType().Name}", "a shape that an SVG can show");
        }
    }

    void Stroke(Ink ink, float width, float opacity, Dash? dash)
    {
        Add($" class=\"s-{ink.Name}\" stroke-width=\"{width:0.##}\"");
        if (opacity < 1) Add($" stroke-opacity=\"{opacity:0.##}\"");
        if (dash is not null) Add($" stroke-dasharray=\"{dash.Svg}\"");
    }

    void Write(Shape.Text line)
    {
        var rotation = line.Turned ? $" transform=\"rotate(-90 {N(line.X)} {N(line.Y)})\"" : "";
        var anchor = line.Anchor switch { Anchor.Middle => " text-anchor=\"middle\"", Anchor.End => " text-anchor=\"end\"", _ => "" };
        Add($"<text x=\"{line.X:0.##}\" y=\"{line.Y + line.Size * BaseLine:0.##}\" font-size=\"{line.Size:0.##}\"");
        Add($" class=\"f-{line.Fill.Name}\"{anchor}{rotation}");
        Add($"{(line.Bold ? " font-weight=\"600\"" : "")}>{Escape(line.Content)}</text>\n");
    }

    void Write(Shape.Sentence sentence)
    {
        Add($"<text x=\"{sentence.X:0.##}\" y=\"{sentence.Y + sentence.Size * BaseLine:0.##}\" font-size=\"{sentence.Size:0.##}\">");
        for (int i = 0; i < sentence.Parts.Count; i++)
        {
            var part = sentence.Parts[i];
            Add($"<tspan class=\"f-{part.Fill.Name}\"{(i > 0 ? " dx=\".7em\"" : "")}{(part.Bold ? " font-weight=\"600\"" : "")}>");
            Add($"{Escape(part.Content)}</tspan>");
        }
        Add($"</text>\n");
    }

    void Write(Shape.Circle circle)
    {
        var outline = circle.Outline is { } ink ? $" s-{ink.Name}" : "";
        Add($"<circle class=\"f-{circle.Fill.Name}{outline}\" cx=\"{circle.X:0.#}\" cy=\"{circle.Y:0.#}\" r=\"{circle.Radius:0.##}\"");
        if (circle.Title is { } title) Add($"><title>{Escape(title)}</title></circle>\n");
        else Add($"/>\n");
    }

    void Write(Shape.Clip clip)
    {
        var id = $"{idPrefix}-clip{clips++}";
        Add($"<clipPath id=\"{id}\">");
        Add($"<rect x=\"{clip.X:0.##}\" y=\"{clip.Y:0.##}\" width=\"{clip.Width:0.##}\" height=\"{clip.Height:0.##}\"/></clipPath>\n");
        Add($"<g clip-path=\"url(#{id})\">\n");
        foreach (var inner in clip.Shapes) Write(inner);
        Add($"</g>\n");
    }

    void Write(Shape.Box box)
    {
        var classes = box.Class is null ? [] : new List<string> { box.Class };
        var fill = "";
        if (box.Second is { } second && box.Fill is { } first)
        {
            var id = $"{idPrefix}-split{gradients++}";
            Add($"<linearGradient id=\"{id}\" x1=\"0\" y1=\"0\" x2=\"1\" y2=\"1\"><stop offset=\".5\" class=\"c-{first.Name}\"/>");
            Add($"<stop offset=\".5\" class=\"c-{second.Name}\"/></linearGradient>");
            fill = $" fill=\"url(#{id})\"";
        }
        else if (box.Fill is { } only) classes.Add($"f-{only.Name}");
        else fill = " fill=\"none\"";
        if (box.Outline is { } outline) classes.Add($"s-{outline.Name}");
        Add($"<rect x=\"{box.X:0.##}\" y=\"{box.Y:0.##}\" width=\"{box.Width:0.##}\" height=\"{box.Height:0.##}\" rx=\"{box.Radius:0.##}\"{fill}");
        Add($"{(classes.Count > 0 ? $" class=\"{string.Join(' ', classes)}\"" : "")}{(box.Dashed ? " stroke-dasharray=\"3 3\"" : "")}/>\n");
    }

    static string N(float value) => value.ToString("0.##", CultureInfo.InvariantCulture);

    void Add(FormattableString part) => text.Append(part.ToString(CultureInfo.InvariantCulture));
}
