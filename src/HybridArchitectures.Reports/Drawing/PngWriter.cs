using SkiaSharp;

namespace HybridArchitectures.Reports.Drawing;

/// <summary>Draws a picture on a white background and encodes it as PNG.</summary>
static class PngWriter
{
    const float BaseLine = 0.36f;

    /// <summary>Draws a picture.</summary>
    /// <param name="picture">The picture.</param>
    /// <param name="scale">The number of pixels of the PNG per pixel of the picture.</param>
    public static byte[] Draw(Picture picture, float scale)
    {
        var size = new SKImageInfo((int)MathF.Ceiling(picture.Width * scale), (int)MathF.Ceiling(picture.Height * scale));
        using var surface = SKSurface.Create(size)
            ?? throw new InvalidOperationException($"Skia cannot allocate a picture of {size.Width} x {size.Height} pixels");
        var canvas = surface.Canvas;
        canvas.Clear(Inks.Paper.Skia);
        canvas.Scale(scale);
        foreach (var shape in picture.Shapes) Draw(canvas, shape);
        using var image = surface.Snapshot();
        using var data = image.Encode(SKEncodedImageFormat.Png, 100);
        return data.ToArray();
    }

    static void Draw(SKCanvas canvas, Shape shape)
    {
        using var paint = new SKPaint { IsAntialias = true };
        switch (shape)
        {
            case Shape.Box box: Draw(canvas, paint, box); break;
            case Shape.Text line: Draw(canvas, paint, line); break;
            case Shape.Sentence sentence: Draw(canvas, sentence); break;
            case Shape.Segment segment:
                var ends = new Shape.Curve([(segment.X1, segment.Y1), (segment.X2, segment.Y2)], segment.Stroke, segment.Width, segment.Opacity,
                segment.Dash);
                Draw(canvas, paint, ends, SKStrokeCap.Butt);
                break;
            case Shape.Curve curve: Draw(canvas, paint, curve, SKStrokeCap.Round); break;
            case Shape.Circle circle: Draw(canvas, paint, circle); break;
            case Shape.Clip clip:
                canvas.Save();
                canvas.ClipRect(SKRect.Create(clip.X, clip.Y, clip.Width, clip.Height), antialias: true);
                foreach (var inner in clip.Shapes) Draw(canvas, inner);
                canvas.Restore();
                break;
            case Shape.Shifted shifted:
                canvas.Save();
                canvas.Translate(shifted.X, shifted.Y);
                foreach (var inner in shifted.Shapes) Draw(canvas, inner);
                canvas.Restore();
                break;
            case Shape.Group group:
                foreach (var inner in group.Shapes) Draw(canvas, inner);
                break;
            default: throw Require.Unfit(nameof(shape), $"shape is a {shape.GetType().Name}", "a shape that a PNG can show");
        }
    }

    static void Draw(SKCanvas canvas, SKPaint paint, Shape.Text line)
    {
        using var font = new SKFont(ReportFont.Typeface(line.Bold), line.Size) { Subpixel = true, Edging = SKFontEdging.Antialias };
        paint.Color = line.Fill.Skia;
        var align = line.Anchor switch { Anchor.Middle => SKTextAlign.Center, Anchor.End => SKTextAlign.Right, _ => SKTextAlign.Left };
        canvas.Save();
        if (line.Turned) canvas.RotateDegrees(-90, line.X, line.Y);
        canvas.DrawText(line.Content, line.X, line.Y + line.Size * BaseLine, align, font, paint);
        canvas.Restore();
    }

    static void Draw(SKCanvas canvas, Shape.Sentence sentence)
    {
        float left = sentence.X;
        foreach (var part in sentence.Parts)
        {
            Draw(canvas, new Shape.Text(left, sentence.Y, part.Content, sentence.Size, part.Fill, Bold: part.Bold));
            left += ReportFont.Measure(part.Content, sentence.Size, part.Bold) + sentence.Size * Shape.Sentence.Gap;
        }
    }

    static void Draw(SKCanvas canvas, SKPaint paint, Shape.Curve curve, SKStrokeCap cap)
    {
        if (curve.Points.Count == 0) return;
        using var dashes = curve.Dash is { } dash ? SKPathEffect.CreateDash(dash.Lengths, 0) : null;
        using var path = new SKPath();
        path.MoveTo(curve.Points[0].X, curve.Points[0].Y);
        foreach (var (x, y) in curve.Points.Skip(1)) path.LineTo(x, y);
        paint.Color = curve.Stroke.Skia.WithAlpha((byte)MathF.Round(255 * curve.Opacity));
        paint.Style = SKPaintStyle.Stroke;
        paint.StrokeWidth = curve.Width;
        paint.StrokeJoin = SKStrokeJoin.Round;
        paint.StrokeCap = cap;
        paint.PathEffect = dashes;
        canvas.DrawPath(path, paint);
        paint.PathEffect = null;
    }

    static void Draw(SKCanvas canvas, SKPaint paint, Shape.Circle circle)
    {
        paint.Color = circle.Fill.Skia;
        canvas.DrawCircle(circle.X, circle.Y, circle.Radius, paint);
        if (circle.Outline is not { } outline) return;
        paint.Color = outline.Skia;
        paint.Style = SKPaintStyle.Stroke;
        paint.StrokeWidth = 1;
        canvas.DrawCircle(circle.X, circle.Y, circle.Radius, paint);
    }

    static void Draw(SKCanvas canvas, SKPaint paint, Shape.Box box)
    {
        var rectangle = SKRect.Create(box.X, box.Y, box.Width, box.Height);
        if (box.Fill is { } fill)
        {
            paint.Color = fill.Skia;
            using var halves = box.Second is { } second ? Diagonal(rectangle, fill.Skia, second.Skia) : null;
            paint.Shader = halves;
            canvas.DrawRoundRect(rectangle, box.Radius, box.Radius, paint);
            paint.Shader = null;
        }
        if (box.Outline is { } outline)
        {
            using var dashes = box.Dashed ? SKPathEffect.CreateDash([3, 3], 0) : null;
            paint.Color = outline.Skia;
            paint.Style = SKPaintStyle.Stroke;
            paint.StrokeWidth = 1;
            paint.PathEffect = dashes;
            canvas.DrawRoundRect(rectangle, box.Radius, box.Radius, paint);
            paint.PathEffect = null;
        }
    }

    // the same line as the gradient of SVG over the unit square: from corner to corner, skewed like the box
    static SKShader Diagonal(SKRect box, SKColor first, SKColor second)
    {
        var unit = SKMatrix.CreateScale(box.Width, box.Height).PostConcat(SKMatrix.CreateTranslation(box.Left, box.Top));
        return SKShader.CreateLinearGradient(
            new SKPoint(0, 0), new SKPoint(1, 1), [first, first, second, second], [0, 0.5f, 0.5f, 1], SKShaderTileMode.Clamp, unit);
    }
}
