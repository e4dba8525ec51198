using HybridArchitectures.Reports.Drawing;
using SkiaSharp;

namespace HybridArchitectures.Reports.Tests;

public class ReportFontTests
{
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void The_font_of_the_assembly_is_used_whatever_the_machine_has(bool bold)
    {
        var typeface = ReportFont.Typeface(bold);
        Assert.StartsWith("Inter", typeface.FamilyName);
        Assert.Equal(bold, typeface.FontWeight >= (int)SKFontStyleWeight.SemiBold);
    }

    [Fact]
    public void Every_character_of_plots_and_strips_has_a_glyph()
    {
        const string used = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 .,:;+-–·×()/%'\"=<>&#_→↑…";
        foreach (var bold in (bool[])[false, true])
            Assert.All(used, letter => Assert.NotEqual(0, ReportFont.Typeface(bold).GetGlyph(letter)));
    }

    [Fact]
    public void Measured_text_has_a_width_that_grows_with_its_length() =>
        Assert.InRange(ReportFont.Measure("aaaa", 20) / ReportFont.Measure("a", 20), 3.9, 4.1);
}
