using System.Globalization;
using HybridArchitectures.Checkpoints;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Models;
using HybridArchitectures.Sequence;
using static TorchSharp.torch;

namespace HybridArchitectures.Benchmarks.Accuracy;

/// <summary>
/// Compares decoding with recurrent states stored in bfloat16 and in float32: reads rows of a text token by token with both, and prints losses and
/// differences of logits by position.
/// </summary>
/// <param name="Folder">A checkpoint of this library whose tokens are bytes.</param>
/// <param name="Text">A text file that the model was not trained on.</param>
/// <param name="Rows">The number of rows, which are spread over the text.</param>
/// <param name="Length">The number of tokens of a row.</param>
sealed record StateTypeAccuracy(string Folder, string Text, int Rows, int Length)
{
    const int Parts = 4;

    /// <summary>Reads the rows and prints; 0.</summary>
    public int Run()
    {
        CultureInfo.CurrentCulture = CultureInfo.InvariantCulture;
        using var noGrad = no_grad();
        using var model = Checkpoint.Load(Folder, ScalarType.Float32);
        model.eval();
        var tokens = ReadRows();
        using HybridCache wide = model.CreateCache(Rows), narrow = model.CreateCache(Rows, ScalarType.BFloat16);
        var sums = new Sums[Parts];
        for (int at = 0; at + 1 < Length; at++)
        {
            using var scope = NewDisposeScope();
            var ids = tensor(tokens.Select(row => (long)row[at]).ToArray(), [Rows, 1]);
            var targets = tensor(tokens.Select(row => (long)row[at + 1]).ToArray(), [Rows]);
            sums[at * Parts / Length].Add(Next(model, wide, ids), Next(model, narrow, ids), targets);
        }
        Console.WriteLine($"{model.Design.Name} ({model.Design.Pattern}), {Rows} rows of {Length} bytes, token by token");
        Console.WriteLine("| positions | nats, float32 states | nats, bfloat16 states | mean difference of a logit | largest | other best token |");
        Console.WriteLine("| --- | ---: | ---: | ---: | ---: | ---: |");
        for (int part = 0; part < Parts; part++)
            Console.WriteLine($"| {part * Length / Parts} to {(part + 1) * Length / Parts - 1} | {sums[part]} |");
        return 0;
    }

    static Tensor Next(HybridLanguageModel model, HybridCache cache, Tensor ids)
    {
        using var context = new SequenceContext(cache: cache);
        return model.NextLogits(ids, context);
    }

    byte[][] ReadRows()
    {
        byte[] text = File.ReadAllBytes(Text);
        long stride = ((long)text.Length - Length) / Rows;
        if (stride < Length) throw new InvalidDataException($"{Text} has {text.Length} bytes; expected at least {(Rows + 1L) * Length}.");
        return [.. Enumerable.Range(0, Rows).Select(row => text.AsSpan(checked((int)(row * stride)), Length).ToArray())];
    }

    /// <summary>Adds up losses and differences of logits.</summary>
    struct Sums
    {
        double wideLoss, narrowLoss, difference, largest;
        long count, different, logits;

        public void Add(Tensor wide, Tensor narrow, Tensor targets)
        {
            wideLoss += Loss(wide, targets);
            narrowLoss += Loss(narrow, targets);
            var error = (wide - narrow).abs();
            difference += error.sum().item<float>();
            largest = Math.Max(largest, error.max().item<float>());
            different += wide.argmax(1).ne(narrow.argmax(1)).sum().item<long>();
            (count, logits) = (count + targets.size(0), logits + wide.NumberOfElements);
        }

        static double Loss(Tensor scores, Tensor targets) =>
            scores.to(ScalarType.Float64).log_softmax(1).gather(1, targets.unsqueeze(1)).sum().neg().item<double>();

        public override readonly string ToString() => $"{wideLoss / count:f5} | {narrowLoss / count:f5} | {difference / logits:f5} | {largest:f3} | "
            + $"{100.0 * different / count:f2} %";
    }
}
