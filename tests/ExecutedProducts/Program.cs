// Runs passes of designs and lets libtorch write which operators it executed, with their shapes: FOLDER/DESIGN.PASS.json for each FOLDER/DESIGN.json.
//   ExecutedProducts FOLDER ROWS LENGTH
// Passes: forward, training, checkpointed (the same with activation checkpointing), step (one token for every row after a prefill of LENGTH tokens).
using ExecutedProducts;
using HybridArchitectures.Design;
using HybridArchitectures.Kernels;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Models;
using HybridArchitectures.Sequence;
using static TorchSharp.torch;

// products of the library's own code do not go through libtorch: its composed forms do
using var options = OperatorOptions.Use(new()
{
    StateSpaceDualBackend = KernelBackend.LibTorch, FewRowsLinearBackend = KernelBackend.LibTorch, SelectedLinearBackend = KernelBackend.LibTorch,
    AttentionDecodeBackend = KernelBackend.LibTorch,
});
var (folder, rows, length) = (args[0], int.Parse(args[1]), int.Parse(args[2]));
TorchLibrary.EnsureLoaded();
foreach (string file in Directory.GetFiles(folder, "*.json"))
{
    using var scope = NewDisposeScope();
    using var model = HybridDesign.FromJson(File.ReadAllText(file)).CreateModel(seed: 1);
    var ids = arange(rows * length, ScalarType.Int64).remainder(Scalars.From(model.VocabularySize)).view(rows, length);
    void Trace(string pass, Action work) => OperatorTrace.Write(Path.ChangeExtension(file, $".{pass}.json"), work);

    Trace("forward", () =>
    {
        using var noGrad = no_grad();
        model.Forward(ids);
    });
    Trace("training", () => Autograd.Backward(model.Loss(ids, ids).Total));
    model.Stack.ActivationCheckpointing = true;
    Trace("checkpointed", () => Autograd.Backward(model.Loss(ids, ids).Total));
    using var cache = model.CreateCache(rows);
    model.Forward(ids, new SequenceContext(cache: cache));
    Trace("step", () => model.Forward(ids.narrow(1, 0, 1), new SequenceContext(cache: cache)));
}
