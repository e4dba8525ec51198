using System.Globalization;
using System.Text;
using HybridArchitectures.Design;
using HybridArchitectures.Models;
using HybridArchitectures.Storage;
using HybridArchitectures.Verification;
using static TorchSharp.torch;

namespace HybridArchitectures.Checkpoints;

/// <summary>
/// Describes the differences between two checkpoints, models or designs: settings of the design, names, shapes, dtypes and values of tensors and, if
/// tokens are given, the first layer whose output differs. Its text is a table.
/// </summary>
/// <param name="Left">The name of the left side.</param>
/// <param name="Right">The name of the right side.</param>
/// <param name="Design">The differences of the designs. Null if one of them is unknown, as for a single file of tensors.</param>
/// <param name="Tensors">Every tensor of either side, by name.</param>
/// <param name="Layers">The output of every layer, in the order of computation. Empty if no tokens were given.</param>
/// <example>
/// <code>
/// HybridDesign left = Recipes.Get("1B-inter-1:5").Design, right = Recipes.Get("1B-inter-1:3").Design;
/// Console.WriteLine(CheckpointDiff.Compare(left, right));
/// </code>
/// </example>
public sealed record CheckpointDiff(
    string Left, string Right,
    EquatableList<DesignDifference>? Design, EquatableList<TensorDifference> Tensors, EquatableList<LayerDifference> Layers)
{
    const int LinesShown = 60;

    /// <summary>Gets whether there is no difference.</summary>
    public bool AreEqual => Design is null or { Count: 0 } && Tensors.All(tensor => tensor.Change == TensorChange.None) && FirstDivergence is null;

    /// <summary>Gets the first layer whose output differs, or null.</summary>
    public LayerDifference? FirstDivergence => Layers.FirstOrDefault(layer => layer.Diverges);

    /// <summary>Returns the tensors with a kind of difference.</summary>
    public IReadOnlyList<TensorDifference> WithChange(TensorChange change) => [.. Tensors.Where(tensor => tensor.Change == change)];

    /// <summary>Compares two checkpoints.</summary>
    /// <param name="left">A folder of this library or of Hugging Face, or a safetensors file.</param>
    /// <param name="right">
    /// The other checkpoint. If the names of tensors differ (another family or format), both are loaded and compared by the names of
    /// <see cref="HybridLanguageModel.State"/>.
    /// </param>
    /// <param name="ids">
    /// Tokens, shape (batch, length), int64, to find the first layer that differs. The default, null, compares only the files, one tensor in memory
    /// at a time.
    /// </param>
    /// <param name="tolerance">The maximum permitted error of the output of a layer, relative to its maximum. The default is 1e-5.</param>
    /// <exception cref="FileNotFoundException">The file or folder does not exist, or contains no checkpoint.</exception>
    /// <exception cref="InvalidDataException">A file is damaged.</exception>
    /// <exception cref="ArgumentException">Tokens are given, but one side is not a model.</exception>
    public static CheckpointDiff Compare(string left, string right, Tensor? ids = null, double tolerance = 1e-5)
    {
        ArgumentNullException.ThrowIfNull(left);
        ArgumentNullException.ThrowIfNull(right);
        using var first = CheckpointSource.Open(left);
        using var second = CheckpointSource.Open(right);
        if (ids is null && first.Naming == second.Naming)
            return new(left, right, Differences(first.Design, second.Design), CompareTensors(first.Tensors, second.Tensors), []);
        using var one = first.LoadModel(nameof(left));
        using var other = second.LoadModel(nameof(right));
        var layers = ids is null ? [] : CompareLayers(one, other, ids, tolerance);
        if (first.Naming == second.Naming)
            return new(left, right, Differences(first.Design, second.Design), CompareTensors(first.Tensors, second.Tensors), layers);
        return Compare(one, other, ids, tolerance) with { Left = left, Right = right };
    }

    /// <summary>Compares two models.</summary>
    /// <param name="left">A model.</param>
    /// <param name="right">The other model.</param>
    /// <param name="ids">
    /// Tokens, shape (batch, length), int64, to find the first layer that differs. The default, null, compares only the parameters.
    /// </param>
    /// <param name="tolerance">The maximum permitted error of the output of a layer, relative to its maximum. The default is 1e-5.</param>
    public static CheckpointDiff Compare(HybridLanguageModel left, HybridLanguageModel right, Tensor? ids = null, double tolerance = 1e-5)
    {
        ArgumentNullException.ThrowIfNull(left);
        ArgumentNullException.ThrowIfNull(right);
        return new(left.Design.Name ?? "left", right.Design.Name ?? "right", left.Design.Diff(right.Design), CompareTensors(Held(left), Held(right)),
            ids is null ? [] : CompareLayers(left, right, ids, tolerance));
    }

    /// <summary>Compares two designs: their settings, and the names and shapes of the tensors of their models.</summary>
    public static CheckpointDiff Compare(HybridDesign left, HybridDesign right)
    {
        ArgumentNullException.ThrowIfNull(left);
        ArgumentNullException.ThrowIfNull(right);
        using var first = left.CreateBlankModel(ScalarType.Float32, CPU);       // this memory is never written
        using var second = right.CreateBlankModel(ScalarType.Float32, CPU);
        return new(left.Name ?? "left", right.Name ?? "right", left.Diff(right), CompareTensors(Shapes(first), Shapes(second)), []);
    }

    static EquatableList<DesignDifference>? Differences(HybridDesign? left, HybridDesign? right) =>
        left is null || right is null ? null : left.Diff(right);

    static Dictionary<string, StoredTensor> Held(HybridLanguageModel model) =>
        model.State.ToDictionary(item => item.Key, item => new StoredTensor(item.Value.dtype, item.Value.shape, () => item.Value.detach().cpu()));

    static Dictionary<string, StoredTensor> Shapes(HybridLanguageModel model) =>
        model.State.ToDictionary(item => item.Key, item => new StoredTensor(item.Value.dtype, item.Value.shape, null));

    static EquatableList<TensorDifference> CompareTensors(
        IReadOnlyDictionary<string, StoredTensor> left, IReadOnlyDictionary<string, StoredTensor> right) =>
        [.. left.Keys.Union(right.Keys).Order(StringComparer.Ordinal)
            .Select(name => CompareTensor(name, left.GetValueOrDefault(name), right.GetValueOrDefault(name)))];

    static TensorDifference CompareTensor(string name, StoredTensor? left, StoredTensor? right)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        if (left is null) return new(name, TensorChange.OnlyRight, null, right!.ToString(), null, Norm(right), null, null);
        if (right is null) return new(name, TensorChange.OnlyLeft, left.ToString(), null, Norm(left), null, null, null);
        if (!left.Shape.SequenceEqual(right.Shape))
            return new(name, TensorChange.Shape, left.ToString(), right.ToString(), Norm(left), Norm(right), null, null);
        var change = left.Type == right.Type ? TensorChange.None : TensorChange.Type;
        if (left.Read is null || right.Read is null) return new(name, change, left.ToString(), right.ToString(), null, null, null, null);
        var (a, b) = (Numbers(left.Read()), Numbers(right.Read()));
        double leftNorm = Norm(a), rightNorm = Norm(b), difference = 0, maxDifference = 0;
        // equal bits are equal, even if they are NaN
        if (!a.equal(b).logical_or(a.isnan().logical_and(b.isnan())).all().item<bool>())
        {
            var gap = a - b;
            (difference, maxDifference) = (Norm(gap), gap.NumberOfElements == 0 ? 0 : gap.abs().max().to(ScalarType.Float64).item<double>());
            if (change == TensorChange.None) change = TensorChange.Values;
        }
        return new(name, change, left.ToString(), right.ToString(), leftNorm, rightNorm, difference, maxDifference);
    }

    static double? Norm(StoredTensor tensor) => tensor.Read is null ? null : Norm(Numbers(tensor.Read()));

    static double Norm(Tensor numbers) => numbers.NumberOfElements == 0 ? 0 : numbers.norm().to(ScalarType.Float64).item<double>();

    // integers up to 2^53 remain exact; weights are compared in the dtype in which they are trained
    static Tensor Numbers(Tensor stored) => stored.dtype is ScalarType.Float16 or ScalarType.BFloat16 or ScalarType.Float32
        ? stored.to(ScalarType.Float32) : stored.to(ScalarType.Float64);

    static EquatableList<LayerDifference> CompareLayers(HybridLanguageModel left, HybridLanguageModel right, Tensor ids, double tolerance)
    {
        ArgumentNullException.ThrowIfNull(ids);
        if (!(tolerance >= 0)) throw Require.OutOfRange(nameof(tolerance), tolerance, "at least 0");
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        var (first, second) = (Outputs(left, ids), Outputs(right, ids));
        var layers = new List<LayerDifference>();
        int blocks = Math.Min(left.Stack.Blocks.Count, right.Stack.Blocks.Count);
        void Add(int? block, string name, Tensor one, Tensor other)
        {
            double error = Error(one, other);
            layers.Add(new(block, name, error, !(error <= tolerance)));
        }
        Add(0, "embedding", first[0], second[0]);
        for (int block = 0; block < blocks; block++)
        {
            string one = LayerNames.ForLayer(left, block), other = LayerNames.ForLayer(right, block);
            Add(block + 1, one == other ? one : $"{one} / {other}", first[block + 1], second[block + 1]);
        }
        Add(null, "final norm", first[^2], second[^2]);
        Add(null, "logits", first[^1], second[^1]);
        return [.. layers];
    }

    static IReadOnlyList<Tensor> Outputs(HybridLanguageModel model, Tensor ids)
    {
        using var probe = new LayerProbe(model, withInput: true);
        var outputs = probe.Run(ids.to(model.Device));
        return [.. outputs.Select(output => output.cpu()), model.Logits(outputs[^1].to(model.ComputeType)).cpu()];
    }

    static double Error(Tensor one, Tensor other)
    {
        if (!one.shape.SequenceEqual(other.shape)) return double.PositiveInfinity;
        if (one.NumberOfElements == 0) return 0;
        double scale = one.abs().max().to(ScalarType.Float64).item<double>(), error = (one - other).abs().max().to(ScalarType.Float64).item<double>();
        return error == 0 ? 0 : double.IsFinite(error) ? error / Math.Max(scale, 1e-30) : double.PositiveInfinity;
    }

    /// <inheritdoc/>
    public override string ToString()
    {
        var text = new StringBuilder();
        text.AppendLine(CultureInfo.InvariantCulture, $"left:  {Left}");
        text.AppendLine(CultureInfo.InvariantCulture, $"right: {Right}");
        if (Design is not null)
        {
            text.AppendLine(Design.Count == 0 ? "designs: the same"
                : $"designs: {Design.Count} {(Design.Count == 1 ? "difference" : "differences")}");
            foreach (var difference in Design) text.AppendLine(CultureInfo.InvariantCulture, $"  {difference}");
        }
        var words = new (TensorChange Change, string Words)[]
        {
            (TensorChange.None, "the same"), (TensorChange.Values, "of other values"), (TensorChange.Type, "of another type"),
                (TensorChange.Shape, "of another shape"),
            (TensorChange.OnlyLeft, "only left"), (TensorChange.OnlyRight, "only right"),
        };
        var counts = words.Select(item => (item.Words, WithChange(item.Change).Count)).Where(item => item.Count > 0);
        text.AppendLine(CultureInfo.InvariantCulture, $"tensors: {string.Join(", ", counts.Select(item => $"{item.Count} {item.Words}"))}");
        AppendChanges(text);
        AppendLayers(text);
        return text.ToString();
    }

    void AppendChanges(StringBuilder text)
    {
        var changed = Tensors.Where(tensor => tensor.Change != TensorChange.None).ToArray();
        if (changed.Length > 0)
        {
            Row[] rows = [new("name", "left", "right", "|left|", "|right|", "|left - right|", "largest"), .. changed.Take(LinesShown).Select(Line)];
            int[] widths = [.. Enumerable.Range(0, 7).Select(column => rows.Max(row => row.Cells[column].Length))];
            foreach (var row in rows)
                text.AppendLine("  " + string.Join(
                    "  ", row.Cells.Select((cell, column) => column < 3 ? cell.PadRight(widths[column]) : cell.PadLeft(widths[column]))).TrimEnd());
            if (changed.Length > LinesShown) text.AppendLine(CultureInfo.InvariantCulture, $"  and {changed.Length - LinesShown} more");
        }
    }

    void AppendLayers(StringBuilder text)
    {
        if (Layers.Count > 0)
        {
            text.AppendLine(FirstDivergence is { } diverging ? $"outputs: diverge from {diverging.Layer} on"
                : "outputs: the same within the tolerance");
            int width = Layers.Max(layer => layer.Layer.Length);
            foreach (var layer in Layers)
                text.AppendLine(string.Create(
                    CultureInfo.InvariantCulture,
                    $"  {layer.Layer.PadRight(width)}  {layer.Error:g3}{(ReferenceEquals(layer, FirstDivergence) ? "  <- first" : "")}"));
        }
    }

    static Row Line(TensorDifference tensor)
    {
        static string Number(double? value) => value is { } number ? number.ToString("g4", CultureInfo.InvariantCulture) : "-";
        return new(tensor.Name, tensor.Left ?? "-", tensor.Right ?? "-", Number(tensor.LeftNorm), Number(tensor.RightNorm),
            Number(tensor.DifferenceNorm), Number(tensor.MaxDifference));
    }

    sealed record Row(params string[] Cells);
}
