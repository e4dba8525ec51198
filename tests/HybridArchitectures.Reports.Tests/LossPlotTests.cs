using HybridArchitectures.Reports.Drawing;
using HybridArchitectures.Reports.Page;
using SkiaSharp;

namespace HybridArchitectures.Reports.Tests;

public class LossPlotTests
{
    [Fact]
    public void A_plot_has_the_requested_size()
    {
        using var image = SKBitmap.Decode(LossPlot.Png(ExampleRuns.Three, ExampleRuns.Baselines, new() { Width = 640, Height = 320, Scale = 1.5 }));
        Assert.Equal((960, 480), (image.Width, image.Height));
    }

    [Fact]
    public void Every_run_is_drawn_in_a_separate_colour()
    {
        using var image = SKBitmap.Decode(LossPlot.Png(ExampleRuns.Three, options: new() { Scale = 1 }));
        for (int run = 0; run < 3; run++)
            Assert.True(image.Pixels.Count(pixel => pixel == RunLook.At(run).Ink.Skia) > 200, $"run {run} is hardly seen");
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
        var broken = curve with { Points = [
            .. curve.Points.Select(point => point.Step > 300 ? point with { TrainingLoss = double.NaN, HeldOutLoss = null } : point)] };
        using var image = SKBitmap.Decode(LossPlot.Png([broken], options: new() { Scale = 1 }));
        Assert.True(image.Pixels.Count(pixel => pixel == RunLook.At(0).Ink.Skia) > 200);
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
        Assert.Equal("Smoothing", Assert.Throws<ArgumentOutOfRangeException>(
            () => LossPlot.Png([], options: new() { Smoothing = double.NaN })).ParamName);
        Assert.Equal("Width", Assert.Throws<ArgumentOutOfRangeException>(() => LossPlot.Png([], options: new() { Width = 0 })).ParamName);
        Assert.Equal("Scale", Assert.Throws<ArgumentOutOfRangeException>(() => LossPlot.Png([], options: new() { Scale = -1 })).ParamName);
        Assert.Equal("curves", Assert.Throws<ArgumentNullException>(() => LossPlot.Png(null!)).ParamName);
        Assert.Contains("-5 tokens", Assert.Throws<ArgumentException>(() => LossPlot.Png([new("x", [new(1, -5, 0, 1)])])).Message);
        Assert.Contains("in order of time",
            Assert.Throws<ArgumentException>(() => LossPlot.Png([new("x", [new(2, 20, 2, 1), new(1, 10, 1, 1)])])).Message);
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
        // reports at steps 1, 5, 10 and so on, the last after three steps
        long[] steps = [1, .. Enumerable.Range(1, 100).Select(i => 5L * i), 503];
        double[] line = [.. steps.Select(step => 3 - 0.002 * step)];
        var smooth = LossFrame.Smoothed(line, steps, share);
        for (int i = 0; i < line.Length; i++) Assert.Equal(line[i], smooth[i], 1e-10);
    }

    [Theory]
    [InlineData(30)]
    [InlineData(400)]
    public void A_last_report_of_few_steps_does_not_bend_the_end_of_the_curve(int reports)
    {
        // the mean of one step has the noise of one step: sqrt(5) times that of five
        long[] steps = [.. Enumerable.Range(1, reports).Select(i => 5L * i), 5 * reports + 1];
        double[] losses = [.. steps.Select(_ => 2.0)];
        losses[^1] = 1.5;
        var smooth = LossFrame.Smoothed(losses, steps, 0.04);
        Assert.InRange(smooth[^1], 1.85, 2);
        losses[^1] = 2;
        losses[^2] = 1.5;
        Assert.True(LossFrame.Smoothed(losses, steps, 0.04)[^1] < smooth[^1], "a whole report must weigh more than a fifth of one");
    }

    [Theory]
    // a curve falls from 4 to 1 and crosses each baseline somewhere
    [InlineData(2.5), InlineData(3.1), InlineData(1.9), InlineData(1.3)]
    public void A_baseline_has_its_label_where_no_curve_crosses_it(double loss)
    {
        var frame = Frame([Falling("falling", 4, 1)], [new("baseline", loss)]);
        var place = frame.PlaceLabel(loss, 0.2, 0.06, [])!.Value;
        for (double x = place.Left; x <= place.Left + place.Width; x += 0.01)
        {
            double height = (4 - 3 * x - frame.Bottom) / (frame.Top - frame.Bottom);
            Assert.False(height > place.Bottom && height < place.Bottom + place.Height, $"the curve goes through the label at {x}");
        }
    }

    [Fact]
    public void Labels_of_close_baselines_do_not_overlap()
    {
        var frame = Frame([Falling("falling", 4, 1)], [new("one", 2.5), new("two", 2.52)]);
        var one = frame.PlaceLabel(2.5, 0.2, 0.06, [])!.Value;
        var two = frame.PlaceLabel(2.52, 0.2, 0.06, [one])!.Value;
        Assert.False(one.Overlaps(two));
        Assert.False(one.Crosses((2.52 - frame.Bottom) / (frame.Top - frame.Bottom)));
    }

    [Fact]
    public void A_baseline_that_curves_cross_everywhere_is_named_in_the_legend_alone()
    {
        var zigzag = new LossCurve("zigzag", [.. Enumerable.Range(0, 400).Select(i => new RunPoint(i, 10 * i, i, null, i % 2 == 0 ? 4 : 1))]);
        var frame = Frame([zigzag], [new("baseline", 2.5)]);
        Assert.Null(frame.PlaceLabel(2.5, 0.2, 0.06, []));
        Assert.Equal(["baseline 2.500"], Texts(LossPicture.Create(frame, Layout)).Where(text => text.Contains("baseline")));
    }

    [Fact]
    public void Labels_of_baselines_lie_below_all_curves()
    {
        var shapes = LossPicture.Create(Frame(ExampleRuns.Three, ExampleRuns.Baselines), Layout).Shapes.ToList();
        int curves = shapes.FindIndex(shape => shape is Shape.Clip { Shapes: var inner } && inner.Any(shape => shape is Shape.Curve));
        int label = shapes.FindIndex(shape => shape is Shape.Text text && text.Content == "order-2 bytes 2.490");
        Assert.InRange(label, 0, curves - 1);
    }

    [Theory]
    [InlineData(3, 480)]
    [InlineData(12, 480)]
    [InlineData(60, 480)]
    [InlineData(60, 240)]
    public void The_legend_lies_below_the_chart_and_leaves_it_half_of_the_picture(int runs, int height)
    {
        var picture = LossPicture.Create(
            Frame([.. Enumerable.Range(0, runs).Select(i => ExampleRuns.Curve($"a run with number {i}", 2))], ExampleRuns.Baselines),
            Layout with { Height = height });
        var window = picture.Shapes.OfType<Shape.Clip>().Single();
        var legend = picture.Shapes.OfType<Shape.Shifted>().Single();
        Assert.True(window.Height >= 0.3 * height, $"the window has {window.Height} of {height} pixels");
        Assert.True(legend.Y >= window.Y + window.Height + 40, "axis labels are between chart and legend");
        Assert.All(legend.Shapes.OfType<Shape.Sentence>(), entry => Assert.InRange(legend.Y + entry.Y, legend.Y, height - 6));
        Assert.All(legend.Shapes.OfType<Shape.Sentence>(),
            entry => Assert.True(entry.X + Shape.Sentence.Measure(entry.Parts, entry.Size) <= Layout.Width));
        int named = Texts(picture).Count(text => text.StartsWith("a run with number", StringComparison.Ordinal));
        if (runs == 12) Assert.Equal(runs, named);
        if (named < runs)
            Assert.Contains(Texts(picture), text => text.StartsWith("and ", StringComparison.Ordinal)
            && text.EndsWith(" more", StringComparison.Ordinal));
    }

    [Fact]
    public void The_legend_prints_the_final_loss_and_not_the_last_measured()
    {
        var curve = ExampleRuns.Curve("run", 2) with { HeldOutLoss = 1.234567 };
        Assert.Contains("run 1.235", Texts(LossPicture.Create(Frame([curve], []), Layout)));
        var measured = ExampleRuns.Curve("run", 2);
        Assert.Contains($"run {measured.Points[^1].HeldOutLoss:0.000}", Texts(LossPicture.Create(Frame([measured], []), Layout)));
        var report = new RunReport { Title = "x",
            Runs = [new() { Name = "run", Design = ExampleDesigns.Mamba, Points = curve.Points, HeldOutLoss = 1.234567 }] };
        Assert.Contains("run 1.235", Texts(LossPicture.Create(Frame(report.Curves(), []), Layout)));
        Assert.Contains("run <b>1.235</b>", report.ToHtml());
    }

    [Theory]
    [InlineData(200, 150, "")]
    [InlineData(200, 150, "A title that is far wider than the picture is")]
    public void The_smallest_plot_has_a_chart(int width, int height, string title)
    {
        using var image = SKBitmap.Decode(
            LossPlot.Png(ExampleRuns.Three, ExampleRuns.Baselines, new() { Width = width, Height = height, Title = title, Scale = 1 }));
        Assert.True(image.Pixels.Count(pixel => pixel == RunLook.At(0).Ink.Skia) > 20);
    }

    static readonly LossLayout Layout = new(960, 480, "bits per byte", Legend: true);

    static LossFrame Frame(IReadOnlyList<LossCurve> curves, IReadOnlyList<Baseline> baselines) => new(curves, baselines, LossAxis.Tokens, 0.04);

    static LossCurve Falling(string name, double from, double to) =>
        new(name, [.. Enumerable.Range(0, 301).Select(i => new RunPoint(i, 10 * i, i, from + (to - from) * i / 300))]);

    static IEnumerable<string> Texts(Picture picture) => picture.Shapes.SelectMany(Texts);

    static IEnumerable<string> Texts(Shape shape) => shape switch
    {
        Shape.Text text => [text.Content],
        Shape.Sentence sentence => [string.Join(' ', sentence.Parts.Select(part => part.Content))],
        Shape.Shifted shifted => shifted.Shapes.SelectMany(Texts),
        _ => [],
    };

    static int Differing(SKBitmap first, SKBitmap second, int rows)
    {
        int differing = 0;
        for (int y = 0; y < rows; y++)
            for (int x = 0; x < first.Width; x++)
                if (first.GetPixel(x, y) != second.GetPixel(x, y)) differing++;
        return differing;
    }
}
