using HybridArchitectures.Reports.Drawing;
using SkiaSharp;

namespace HybridArchitectures.Reports.Tests;

public class LossPlotTests
{
    [Fact]
    public void A_plot_has_the_asked_size()
    {
        using var image = SKBitmap.Decode(LossPlot.Png(ExampleRuns.Three, ExampleRuns.Baselines, new() { Width = 640, Height = 320, Scale = 1.5 }));
        Assert.Equal((960, 480), (image.Width, image.Height));
    }

    [Fact]
    public void Every_run_is_drawn_in_its_own_colour()
    {
        using var image = SKBitmap.Decode(LossPlot.Png(ExampleRuns.Three, options: new() { Scale = 1 }));
        for (int run = 0; run < 3; run++) Assert.True(image.Pixels.Count(pixel => pixel == Inks.Run(run).Skia) > 200, $"run {run} is hardly seen");
    }

    [Theory]
    [InlineData("Loss of three models", "")]
    [InlineData("Loss", "Loss of three models")]
    public void A_title_is_drawn_in_letters(string one, string other)
    {
        using var first = SKBitmap.Decode(LossPlot.Png(ExampleRuns.Three, options: new() { Title = one }));
        using var second = SKBitmap.Decode(LossPlot.Png(ExampleRuns.Three, options: new() { Title = other }));
        // the band above the axes
        Assert.True(Differing(first, second, rows: 50) > 300);
    }

    [Fact]
    public void Axis_labels_name_the_unit_in_letters()
    {
        using var bits = SKBitmap.Decode(LossPlot.Png(ExampleRuns.Three, options: new() { Unit = "bits per byte" }));
        using var nats = SKBitmap.Decode(LossPlot.Png(ExampleRuns.Three, options: new() { Unit = "nats per token" }));
        Assert.True(Differing(bits, nats, rows: bits.Height) > 100);
    }

    [Fact]
    public void Losses_that_are_not_finite_leave_the_rest_of_the_curve()
    {
        var curve = ExampleRuns.Curve("diverged", 2);
        var broken = curve with { Points = [.. curve.Points.Select(point => point.Step > 300 ? point with { TrainingLoss = double.NaN, HeldOutLoss = null } : point)] };
        using var image = SKBitmap.Decode(LossPlot.Png([broken], options: new() { Scale = 1 }));
        Assert.True(image.Pixels.Count(pixel => pixel == Inks.Run(0).Skia) > 200);
    }

    [Theory]
    [InlineData(LossAxis.Tokens)]
    [InlineData(LossAxis.Steps)]
    [InlineData(LossAxis.Seconds)]
    public void A_plot_without_points_is_an_empty_frame(LossAxis axis)
    {
        using var image = SKBitmap.Decode(LossPlot.Png([new LossCurve("none", [])], options: new() { Axis = axis }));
        Assert.NotNull(image);
    }

    [Fact]
    public void Wrong_options_are_refused_by_name()
    {
        Assert.Equal("Smoothing", Assert.Throws<ArgumentOutOfRangeException>(() => LossPlot.Png([], options: new() { Smoothing = double.NaN })).ParamName);
        Assert.Equal("Width", Assert.Throws<ArgumentOutOfRangeException>(() => LossPlot.Png([], options: new() { Width = 0 })).ParamName);
        Assert.Equal("Scale", Assert.Throws<ArgumentOutOfRangeException>(() => LossPlot.Png([], options: new() { Scale = -1 })).ParamName);
        Assert.Equal("curves", Assert.Throws<ArgumentNullException>(() => LossPlot.Png(null!)).ParamName);
        Assert.Contains("-5 tokens", Assert.Throws<ArgumentException>(() => LossPlot.Png([new("x", [new(1, -5, 0, 1)])])).Message);
        Assert.Contains("in order of time", Assert.Throws<ArgumentException>(() => LossPlot.Png([new("x", [new(2, 20, 2, 1), new(1, 10, 1, 1)])])).Message);
        Assert.Contains("NaN", Assert.Throws<ArgumentException>(() => LossPlot.Png([], [new("x", double.NaN)])).Message);
    }

    [Fact]
    public void A_written_plot_replaces_the_old_one_and_leaves_nothing_else()
    {
        using var folder = new TemporaryFolder();
        var path = Path.Combine(folder.Path, "loss.png");
        LossPlot.WritePng(path, []);
        var before = new FileInfo(path).Length;
        LossPlot.WritePng(path, ExampleRuns.Three);
        Assert.NotEqual(before, new FileInfo(path).Length);
        Assert.Equal(["loss.png"], Directory.GetFileSystemEntries(folder.Path).Select(Path.GetFileName));
    }

    [Theory]
    [InlineData(0.0)]
    [InlineData(0.5)]
    public void Smoothing_keeps_a_straight_line_straight(double share)
    {
        double[] line = [.. Enumerable.Range(0, 101).Select(i => 3.0 - 0.01 * i)];
        var smooth = LossFrame.Smoothed(line, share);
        for (int i = 0; i < line.Length; i++) Assert.Equal(line[i], smooth[i], 1e-12);
    }

    [Theory]
    // a curve that falls from 4 to 1; each first place of a label, where the curve crosses the baseline, and one where it does not
    [InlineData(0, 2.5, 0.5, false), InlineData(1, 3.1, 0.3, false), InlineData(2, 1.9, 0.7, false), InlineData(0, 1.3, 0.5, true)]
    public void A_baseline_has_its_label_where_no_curve_crosses_it(int index, double loss, double place, bool free)
    {
        LossFrame frame = new([new("falling", [.. Enumerable.Range(0, 301).Select(i => new RunPoint(i, 10 * i, i, 4 - 0.01 * i))])], [new("baseline", loss)], LossAxis.Tokens, 0);
        double chosen = frame.LabelAt(index, loss) / frame.Right;
        if (free) Assert.Equal(place, chosen, 1e-12);
        else Assert.True(Math.Abs(chosen - place) > 0.1, $"at {chosen}");
    }

    static int Differing(SKBitmap first, SKBitmap second, int rows)
    {
        int differing = 0;
        for (int y = 0; y < rows; y++)
            for (int x = 0; x < first.Width; x++)
                if (first.GetPixel(x, y) != second.GetPixel(x, y)) differing++;
        return differing;
    }
}
