using System.Xml.Linq;
using HybridArchitectures.Design;
using HybridArchitectures.Reports.Drawing;
using SkiaSharp;

namespace HybridArchitectures.Reports.Tests;

public class DesignStripTests
{
    static readonly XNamespace Svg = "http://www.w3.org/2000/svg";

    public static TheoryData<string> Designs => ["inter", "transformer", "everything", "deep"];

    static HybridDesign Design(string name) => name switch
    {
        "inter" => ExampleDesigns.Inter,
        "transformer" => ExampleDesigns.Transformer,
        "everything" => ExampleDesigns.Everything,
        _ => ExampleDesigns.Deep,
    };

    [Theory]
    [MemberData(nameof(Designs))]
    public void Every_layer_is_one_box_in_order_with_its_letter_and_number(string name)
    {
        var design = Design(name);
        var layers = XDocument.Parse(DesignStrip.Svg(design)).Descendants(Svg + "g").Where(group => (string?)group.Attribute("class") == "layer")
            .ToArray();
        Assert.Equal(design.Depth, layers.Length);
        for (int i = 0; i < layers.Length; i++)
        {
            Assert.Single(layers[i].Elements(Svg + "rect"), box => ((string?)box.Attribute("class") ?? "").Split(' ').Contains("mixer"));
            string[] letter = design.Blocks[i].Mixer is { } mixer ? [mixer.Symbol] : [];
            Assert.Equal([.. letter, $"{i + 1}"], layers[i].Elements(Svg + "text").Select(text => text.Value));
            Assert.StartsWith($"layer {i + 1}:", layers[i].Element(Svg + "title")!.Value);
        }
    }

    [Theory]
    [MemberData(nameof(Designs))]
    public void With_a_length_every_layer_has_three_bars_as_high_as_its_share_of_the_costliest(string name)
    {
        var design = Design(name);
        var bars = XDocument.Parse(DesignStrip.Svg(design, sequenceLength: 512)).Descendants(Svg + "g")
            .Where(group => (string?)group.Attribute("class") == "cost").ToArray();
        Assert.Equal(3 * design.Depth, bars.Length);
        double Height(XElement box) => double.Parse(box.Attribute("height")!.Value, System.Globalization.CultureInfo.InvariantCulture);
        var parameters = HybridArchitectures.Cost.ParameterCount.FromDesign(design).Blocks;
        foreach (var block in parameters)
        {
            var bar = bars.Single(group =>
                group.Element(Svg + "title")!.Value.StartsWith($"layer {block.Position}: parameters ", StringComparison.Ordinal))
                .Elements(Svg + "rect").ToArray();
            Assert.Equal((double)block.Total / parameters.Max(other => other.Total), Height(bar[1]) / Height(bar[0]), 0.01);
        }
        Assert.DoesNotContain("\"cost\"", DesignStrip.Svg(design));
    }

    [Fact]
    public void A_shared_transformer_is_marked_at_each_use_and_named_in_the_legend()
    {
        var design = HybridDesign.Create(32, 100).WithMamba2(stateSize: 16, headSize: 8)
            .WithSharedTransformers(new() { Attention = new() { Heads = 4 }, FeedForward = new(32) }, 2).Pattern("MM+M+M").Build();
        var texts = XDocument.Parse(DesignStrip.Svg(design)).Descendants(Svg + "text").Select(text => text.Value).ToArray();
        Assert.Equal(4, texts.Count(text => text == "M+"));       // two layers, two entries of the legend
        Assert.Contains(texts, text => text.Contains("after shared transformer 2 (4 heads × 16"));
    }

    [Fact]
    public void Kinds_of_mixers_have_separate_colours()
    {
        var boxes = XDocument.Parse(DesignStrip.Svg(ExampleDesigns.Everything)).Descendants(Svg + "rect")
            .Where(box => ((string?)box.Attribute("class") ?? "").StartsWith("mixer", StringComparison.Ordinal)).ToArray();
        var looks = boxes.Select(box => $"{box.Attribute("class")} {box.Attribute("fill")}").ToArray();
        Assert.Equal(looks.Length, looks.Distinct().Count());
    }

    [Fact]
    public void Names_are_text_and_never_markup()
    {
        var document = XDocument.Parse(DesignStrip.Svg(ExampleDesigns.Everything));
        Assert.Equal(ExampleDesigns.Everything.Name, document.Root!.Element(Svg + "title")!.Value);
        Assert.DoesNotContain(document.Descendants(), element => element.Name.LocalName == "script");
    }

    [Fact]
    public void A_name_with_characters_XML_forbids_still_gives_well_formed_text()
    {
        var document = XDocument.Parse(DesignStrip.Svg(ExampleDesigns.Inter with { Name = "a\0b\u001Bc\uFFFEd 𝄞" }));
        Assert.Equal("a\uFFFDb\uFFFDc\uFFFDd 𝄞", document.Root!.Element(Svg + "title")!.Value);
    }

    [Fact]
    public void Everything_lies_inside_the_picture()
    {
        foreach (var design in (HybridDesign[])[ExampleDesigns.Inter, ExampleDesigns.Everything, ExampleDesigns.Deep])
        {
            var root = XDocument.Parse(DesignStrip.Svg(design)).Root!;
            double width = (double)root.Attribute("width")!, height = (double)root.Attribute("height")!;
            foreach (var box in root.Descendants(Svg + "rect"))
            {
                Assert.InRange((double)box.Attribute("x")!, 0, width - (double)box.Attribute("width")!);
                Assert.InRange((double)box.Attribute("y")!, 0, height - (double)box.Attribute("height")!);
            }
        }
    }

    [Fact]
    public void The_legend_says_sizes_and_layers()
    {
        var words = XDocument.Parse(DesignStrip.Svg(ExampleDesigns.Inter)).Descendants(Svg + "text")
            .Select(text => string.Join("|", text.Elements(Svg + "tspan").Select(part => part.Value)));
        Assert.Contains("Attention|32 heads × 64, 8 key-value heads|layers 5, 9", words);
        Assert.Contains("Mamba-2|32 heads × 128, state 128|layers 1–4, 6–8, 10–13", words);
        Assert.Contains("SwiGLU|width 8,192", words);
    }

    [Fact]
    public void The_PNG_has_the_size_of_the_SVG_times_the_scale()
    {
        var root = XDocument.Parse(DesignStrip.Svg(ExampleDesigns.Inter)).Root!;
        using var image = SKBitmap.Decode(DesignStrip.Png(ExampleDesigns.Inter, scale: 3));
        Assert.Equal(3 * (double)root.Attribute("width")!, image.Width, tolerance: 3);
        Assert.Equal(3 * (double)root.Attribute("height")!, image.Height, tolerance: 3);
    }

    [Fact]
    public void The_PNG_shows_layers_in_colour_and_the_name_in_letters()
    {
        using var named = SKBitmap.Decode(DesignStrip.Png(ExampleDesigns.Inter, scale: 1));
        Assert.True(named.Pixels.Count(pixel => pixel == Inks.Attention.Skia) > 2 * 34 * 40);
        // the name is above the strip: dark on white where another name of no ink leaves white
        using var unnamed = SKBitmap.Decode(DesignStrip.Png(ExampleDesigns.Inter with { Name = "." }, scale: 1));
        int Dark(SKBitmap image) => Enumerable.Range(14, 22).Sum(y => Enumerable.Range(0, image.Width).Count(x => image.GetPixel(x, y).Red < 128));
        Assert.True(Dark(named) > Dark(unnamed) + 200);
    }

    [Fact]
    public void Impossible_designs_and_scales_are_refused()
    {
        Assert.Throws<ArgumentNullException>(() => DesignStrip.Svg(null!));
        Assert.ThrowsAny<ArgumentException>(() => DesignStrip.Svg(ExampleDesigns.Inter with { Width = -1 }));
        Assert.Equal("scale", Assert.Throws<ArgumentOutOfRangeException>(() => DesignStrip.Png(ExampleDesigns.Inter, double.NaN)).ParamName);
    }

    [Theory]
    [InlineData(new[] { 3 }, "3")]
    [InlineData(new[] { 1, 2, 4 }, "1, 2, 4")]
    [InlineData(new[] { 1, 2, 3, 7, 9, 10, 11, 12 }, "1–3, 7, 9–12")]
    public void Runs_of_layers_are_joined(int[] layers, string expected) => Assert.Equal(expected, StripPicture.Runs(layers));
}
