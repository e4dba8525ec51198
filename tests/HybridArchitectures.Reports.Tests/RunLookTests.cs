using HybridArchitectures.Reports.Drawing;
using HybridArchitectures.Reports.Page;

namespace HybridArchitectures.Reports.Tests;

public class RunLookTests
{
    const int Many = 150;

    static readonly RunLook[] Looks = [.. Enumerable.Range(0, Many).Select(RunLook.At)];

    [Fact]
    public void No_two_runs_have_one_colour()
    {
        Assert.Equal(Many, Looks.Select(look => look.Ink.Light).Distinct().Count());
        Assert.Equal(Many, Looks.Select(look => look.Ink.Dark).Distinct().Count());
        Assert.Equal(Many, Looks.Select(look => look.Ink.Name).Distinct().Count());
    }

    [Theory]
    // about 0.02 is just seen
    [InlineData(12, 0.07)]
    [InlineData(24, 0.05)]
    [InlineData(60, 0.03)]
    public void Colours_are_distinct_on_light_and_dark_backgrounds(int runs, double minDistance)
    {
        foreach (var paper in (Func<Ink, string>[])[ink => ink.Light, ink => ink.Dark])
        {
            Oklab[] colours = [.. Looks.Take(runs).Select(look => Oklab.From(paper(look.Ink)))];
            for (int i = 0; i < runs; i++)
                for (int j = 0; j < i; j++)
                    Assert.True(colours[i].DistanceTo(colours[j]) >= minDistance, $"runs {j} and {i}: {colours[i].DistanceTo(colours[j]):0.000}");
        }
    }

    [Fact]
    public void Every_colour_has_a_contrast_of_3_to_its_paper()
    {
        foreach (var (ink, index) in Looks.Select((look, index) => (look.Ink, index)))
        {
            Assert.True(Contrast(ink.Light, Inks.Paper.Light) >= 3,
                $"run {index}: {ink.Light} on light paper has {Contrast(ink.Light, Inks.Paper.Light):0.00}");
            Assert.True(Contrast(ink.Dark, Inks.Paper.Dark) >= 3,
                $"run {index}: {ink.Dark} on dark paper has {Contrast(ink.Dark, Inks.Paper.Dark):0.00}");
        }
    }

    [Fact]
    public void Runs_from_the_eighth_have_other_dashes_too()
    {
        Assert.All(Looks.Take(7), look => Assert.Null(look.Dash));
        Assert.NotNull(Looks[7].Dash);
        Assert.NotEqual(Looks[7].Dash, Looks[14].Dash);
    }

    [Fact]
    public void A_page_of_many_runs_styles_each_colour()
    {
        var runs = Enumerable.Range(0, 20)
            .Select(i => new RunSummary { Name = $"run {i}", Design = ExampleDesigns.Mamba,
                Points = ExampleRuns.Curve("", 2 + 0.1 * i, steps: 40).Points });
        var html = new RunReport { Title = "Many", Runs = [.. runs] }.ToHtml();
        foreach (var look in Looks.Take(20))
        {
            Assert.Contains($".s-{look.Ink.Name}{{stroke:#{look.Ink.Light}}}", html);
            Assert.Contains($".s-{look.Ink.Name}{{stroke:#{look.Ink.Dark}}}", html);
            Assert.Contains($"\"s-{look.Ink.Name}\"", html);
        }
    }

    // WCAG 2.1, contrast ratio
    static double Contrast(string one, string other)
    {
        static double Luminance(string hex)
        {
            double Channel(int at)
            {
                double value = Convert.ToInt32(hex.Substring(at, 2), 16) / 255.0;
                return value <= 0.03928 ? value / 12.92 : Math.Pow((value + 0.055) / 1.055, 2.4);
            }
            return 0.2126 * Channel(0) + 0.7152 * Channel(2) + 0.0722 * Channel(4);
        }
        double a = Luminance(one), b = Luminance(other);
        return (Math.Max(a, b) + 0.05) / (Math.Min(a, b) + 0.05);
    }
}
