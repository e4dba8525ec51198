using System.Text.Json;
using System.Text.Json.Nodes;
using HybridArchitectures.Checkpoints;
using HybridArchitectures.Design;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Models;
using HybridArchitectures.Modules;
using HybridArchitectures.Sequence;
using HybridArchitectures.Storage;
using static TorchSharp.torch;
using static HybridArchitectures.Conformance.ConformanceError;

namespace HybridArchitectures.Conformance;

/// <summary>
/// Represents a checkpoint with the outputs of a reference for it: <c>config.json</c>, weights, <c>expected.safetensors</c>, and <c>notes.json</c>
/// with tolerances.
/// </summary>
sealed class ConformanceCase : IDisposable
{
    /// <summary>
    /// Loads models as transformers computes them, which is what was recorded, also where it differs from the models as they were trained.
    /// </summary>
    public static readonly PretrainedLoadOptions AsRecorded = new() { Semantics = PretrainedSemantics.Transformers };

    const double MappedTolerance = 1e-5;        // of float32 logits with a size of up to 10

    readonly string folder;
    readonly Device device;
    readonly SafetensorsFile expected;
    readonly JsonElement tolerance;
    readonly string longest, studied;        // names of ids: of the longest pass, and of the one whose inner tensors are recorded

    /// <summary>Opens a case, to be run on a device.</summary>
    public ConformanceCase(string folder, Device device)
    {
        (this.folder, this.device) = (folder, device);
        Name = Path.GetFileName(Path.TrimEndingDirectorySeparator(folder));
        using var notes = JsonDocument.Parse(File.ReadAllBytes(Path.Combine(folder, "notes.json")));
        tolerance = notes.RootElement.GetProperty("tolerance").Clone();
        expected = SafetensorsFile.Open(Path.Combine(folder, "expected.safetensors"));
        var passes = expected.Entries.Where(entry => entry.Name.StartsWith("ids.T", StringComparison.Ordinal)).ToArray();
        if (passes.Length == 0) throw new InvalidDataException("expected.safetensors has no ids.T*");
        longest = passes.MaxBy(entry => entry.Shape[1])!.Name;
        studied = expected.Entries.FirstOrDefault(entry => entry.Name.StartsWith("labels.T", StringComparison.Ordinal)) is { } labels
            ? "ids" + labels.Name["labels".Length..]
            : expected.Contains("hidden.embed") ? $"ids.T{expected["hidden.embed"].Shape[1]}" : longest;
    }

    /// <summary>Gets the name of the folder.</summary>
    public string Name { get; }

    /// <summary>Returns whether a folder is such a case.</summary>
    public static bool Is(string folder) =>
        File.Exists(Path.Combine(folder, "config.json")) && File.Exists(Path.Combine(folder, "expected.safetensors"));

    /// <summary>Compares everything the case records; what cannot be run is a failure with its reason.</summary>
    public static IEnumerable<ConformanceResult> RunAll(string folder, Device device)
    {
        using var one = new ConformanceCase(folder, device);
        using var model = PretrainedModel.Load(folder, device: device, options: AsRecorded);
        var results = new List<ConformanceResult>();
        foreach (var (kind, run) in one.Kinds(model))
        {
            try
            {
                using var scope = NewDisposeScope();
                results.Add(run());
            }
            catch (Exception error)
            {
                results.Add(new(one.Name, kind, double.NaN, 0, error.Message));
            }
        }
        return results;
    }

    IEnumerable<(string Kind, Func<ConformanceResult> Run)> Kinds(HybridLanguageModel model)
    {
        yield return ("logits", () => Result("logits", "logits_abs", Logits(model)));
        if (expected.Contains("hidden.embed")) yield return ("hidden", () => Result("hidden", "hidden_scaled", Hidden(model)));
        if (expected.Contains("batch.ids")) yield return ("batch", () => Result("batch", "logits_abs", Batch(model)));
        if (expected.Entries.Any(entry => entry.Name.StartsWith("cache.", StringComparison.Ordinal)))
            yield return ("cache", () => Result("cache", "cache_scaled", Cache(model)));
        if (expected.Contains("greedy.ids")) yield return ("greedy", () => Result("greedy", "logits_abs", Greedy(model)));
        if (expected.Contains("loss"))
        {
            yield return ("loss", () => Result("loss", "loss_abs", Loss(model)));
            yield return ("gradients", () => Result("gradients", "grad_abs", Gradients(model)));
        }
        if (expected.Contains("router.0")) yield return ("router", () => Result("router", "logits_abs", Router(model)));
        if (expected.Contains("aux_loss")) yield return ("aux_loss", () => Result("aux_loss", "loss_abs", AuxiliaryLoss(model)));
        if (File.Exists(Path.Combine(folder, "config.legacy.json"))) yield return ("legacy", () => Result("legacy", "logits_abs", Legacy()));
        if (Directory.Exists(Path.Combine(folder, "sharded_bf16")))
            yield return ("sharded_bf16", () => Result("sharded_bf16", "logits_abs", Sharded()));
        yield return ("export", () => new(Name, "export", Export(model), 0));
    }

    /// <summary>Returns the permitted error of a kind of output.</summary>
    public double Tolerance(string key) => tolerance.GetProperty(key).GetDouble();

    /// <summary>Returns the ids of the longest pass.</summary>
    public Tensor LongestIds() => Read(longest);

    ConformanceResult Result(string kind, string key, double error) => new(Name, kind, error, Tolerance(key));

    Tensor Read(string name) => expected.Read(name);

    Tensor Input(string name) => expected.Read(name, device: device);

    double Logits(HybridLanguageModel model)
    {
        using var noGrad = no_grad();
        return Largest(expected.Entries.Where(entry => entry.Name.StartsWith("ids.T", StringComparison.Ordinal)).Select(entry =>
            Difference(Read("logits" + entry.Name["ids".Length..]), model.Forward(Input(entry.Name)))).ToArray());
    }

    double Hidden(HybridLanguageModel model)
    {
        using var noGrad = no_grad();
        var errors = new List<double>();
        int depth = model.Stack.Blocks.Count;
        model.Stack.Observer = (block, x) =>
            errors.Add(Scaled(Read(block < 0 ? "hidden.embed" : block == depth ? "hidden.norm" : $"hidden.layer.{block}"), x));
        try
        {
            model.Forward(Input(studied));
        }
        finally
        {
            model.Stack.Observer = null;
        }
        return errors.Count == depth + 2 ? Largest(errors) : double.NaN;
    }

    double Batch(HybridLanguageModel model)
    {
        using var noGrad = no_grad();
        var mask = Input("batch.mask");
        using var context = SequenceContext.FromMask(mask);
        // where padding leaks in the reference, only the separate rows are right
        var right = Read(expected.Contains("batch.logits_alone") ? "batch.logits_alone" : "batch.logits");
        return Difference(right, model.Forward(Input("batch.ids"), context));
    }

    double Cache(HybridLanguageModel model)
    {
        using var cache = model.CreateCache(1);
        using var context = new SequenceContext(cache: cache);
        var ids = Input(studied);
        model.Forward(ids, context);
        var errors = new List<double>();
        foreach (var entry in expected.Entries.Where(entry => entry.Name.StartsWith("cache.", StringComparison.Ordinal)))
        {
            var parts = entry.Name.Split('.');
            var state = cache.States[int.Parse(parts[1], System.Globalization.CultureInfo.InvariantCulture)];
            var mixer = state is BlockState block ? block.Mixer : state;
            var (keyed, recurrent) = mixer is CombinedState both ? (both.Attention, both.StateSpace) : (mixer, mixer);
            var right = Read(entry.Name);
            errors.Add(parts[2] switch
            {
                "keys" => Scaled(right, Newest(keyed!, 0, ids.size(1), right.size(2))),
                "values" => Scaled(right, Newest(keyed!, 1, ids.size(1), right.size(2))),
                // the reference keeps one input more than the next step needs
                "conv_states" => Scaled(right.narrow(2, 1, right.size(2) - 1),
                (recurrent is ConvolutionState convolution ? convolution.Convolution : ((RecurrentState)recurrent!).Convolution).transpose(1, 2)),
                "shift_states" => Scaled(right.narrow(2, 1, right.size(2) - 1),
                    ((ConvolutionState)((BlockState)state!).FeedForward).Convolution.transpose(1, 2)),
                "recurrent_states" => Scaled(right,
                    recurrent switch
                    {
                        LinearAttentionState linear => linear.Memory.transpose(2, 3),
                        Mamba3State mamba => mamba.Scan,
                        _ => ((RecurrentState)recurrent!).Scan,
                    }),
                _ => throw new InvalidDataException($"nothing to compare {entry.Name} with"),
            });
        }
        return Largest(errors);
    }

    // the newest positions of a cache of keys and values, (batch, heads, positions, size); the reference's windows hold one position less than a
    // query sees
    static Tensor Newest(MixerState state, int index, long length, long count)
    {
        if (state is not WindowState) return state.Tensors[index].narrow(1, length - count, count).transpose(1, 2);
        long[] positions = [.. state.Tensors[2].select(0, 0).cpu().data<long>()];
        var slots = Enumerable.Range(0, (int)count).Select(i => (long)Array.IndexOf(positions, length - count + i)).ToArray();
        return state.Tensors[index].index_select(1, tensor(slots, device: state.Tensors[index].device)).transpose(1, 2);
    }

    double Greedy(HybridLanguageModel model)
    {
        using var cache = model.CreateCache(1);
        var errors = new List<double>();
        var ids = Input(studied);
        var (chosen, logits) = (Read("greedy.ids"), Read("greedy.logits"));
        for (int step = 0; step < chosen.size(0); step++)
        {
            using var context = new SequenceContext(cache: cache);
            var next = model.NextLogits(ids, context);
            errors.Add(Difference(logits.narrow(0, step, 1), next));
            ids = next.argmax(-1).view(1, 1);
            if (ids.item<long>() != chosen[step].item<long>())
                throw new InvalidDataException($"step {step} chose {ids.item<long>()}; expected {chosen[step].item<long>()}");
        }
        return Largest(errors);
    }

    (Tensor Ids, Tensor Targets) Labelled()
    {
        var (ids, labels) = (Input(studied), Input("labels" + studied["ids".Length..]));
        var none = full([1, 1], Scalars.From(-100L), ScalarType.Int64, device);
        return (ids, cat([labels.narrow(1, 1, labels.size(1) - 1), none], 1));
    }

    // the additional losses of the checkpoint (such as a z-loss) are in the recorded loss; layers add theirs where gradients are recorded
    double Loss(HybridLanguageModel model)
    {
        var (ids, targets) = Labelled();
        return Difference(Read("loss").view(1), model.Loss(ids, targets).Total.view(1));
    }

    double Gradients(HybridLanguageModel model)
    {
        var (ids, targets) = Labelled();
        Autograd.Backward(model.Loss(ids, targets).Total);
        var gradients = model.State.ToDictionary(item => item.Key, item => zeros_like(item.Value));
        foreach (var parameter in model.Parameters)
        {
            if (parameter.Value.grad is { } gradient) gradients[parameter.Name] = gradient;
        }
        using var original = SafetensorsFile.Open(Path.Combine(folder, "model.safetensors"));
        var named = PretrainedModel.RenameGradients(
            model.Design, PretrainedConfig.Read(Path.Combine(folder, "config.json")).ModelType, gradients, original);
        double error = Largest(expected.Entries.Where(entry => entry.Name.StartsWith("grad.", StringComparison.Ordinal)).Select(entry =>
            Difference(Read(entry.Name), named.TryGetValue(entry.Name["grad.".Length..], out var gradient) ? gradient
                : IsUnused(entry.Name["grad.".Length..]) ? Read(entry.Name)
                : throw new InvalidDataException($"the model has no {entry.Name["grad.".Length..]}"))).ToArray());
        foreach (var parameter in model.Parameters) parameter.Value.grad = null;
        return error;
    }

    double Router(HybridLanguageModel model)
    {
        using var noGrad = no_grad();
        using var context = new SequenceContext { KeepsRouting = true };
        model.Forward(Input(studied), context);
        int recorded = expected.Entries.Count(entry => entry.Name.StartsWith("router.", StringComparison.Ordinal));
        if (context.Routing.Count != recorded) throw new InvalidDataException($"{context.Routing.Count} routers; expected {recorded}");
        return Largest(context.Routing.Select((record, index) => Difference(Read($"router.{index}"), record.Logits)).ToArray());
    }

    // the loss as in the configuration of the checkpoint: alone, and added with its coefficient
    double AuxiliaryLoss(HybridLanguageModel model)
    {
        var config = JsonNode.Parse(File.ReadAllText(Path.Combine(folder, "config.json")))!;
        config["output_router_logits"] = true;
        return With(config.ToJsonString(), balanced =>
        {
            var (ids, targets) = Labelled();
            var loss = balanced.Loss(ids, targets);
            double coefficient = config["router_aux_loss_coef"]!.GetValue<double>();
            return Largest([Difference(Read("loss_with_aux").view(1), loss.Total.view(1)),
                Difference(Read("aux_loss").view(1), (loss.Total - loss.CrossEntropy).div(Scalars.From(coefficient)).view(1)) * coefficient]);
        });
    }

    double Legacy() => With(File.ReadAllText(Path.Combine(folder, "config.legacy.json")), Logits);

    // the same weights under another configuration
    double With(string config, Func<HybridLanguageModel, double> run)
    {
        var other = Directory.CreateTempSubdirectory("conformance-");
        try
        {
            File.WriteAllText(Path.Combine(other.FullName, "config.json"), config);
            foreach (string file in Directory.GetFiles(folder, "model*.safetensors*"))
                File.Copy(file, Path.Combine(other.FullName, Path.GetFileName(file)));
            using var model = PretrainedModel.Load(other.FullName, device: device, options: AsRecorded);
            return run(model);
        }
        finally
        {
            other.Delete(recursive: true);
        }
    }

    double Sharded()
    {
        using var noGrad = no_grad();
        using var model = PretrainedModel.Load(Path.Combine(folder, "sharded_bf16"), device: device, options: AsRecorded);
        return Difference(Read("bf16.logits" + studied["ids".Length..]), model.Forward(Input(studied)));
    }

    // numbers that are functions of those of the model, such as a softmax of them, need not be the recorded ones, but they must be read as the same
    // model, to the rounding of float32
    double Mapped(HybridLanguageModel model, string written)
    {
        using var again = PretrainedModel.Load(written, device: device, options: AsRecorded);
        double error = Largest(model.State.Select(item => Difference(item.Value, again.State[item.Key])).ToArray());
        return error < MappedTolerance ? 0 : error;
    }

    // what is written, in several files, is what was read, and describes the same design
    double Export(HybridLanguageModel model)
    {
        var place = Directory.CreateTempSubdirectory("conformance-");
        try
        {
            string written = Path.Combine(place.FullName, Name);
            var config = PretrainedConfig.Read(Path.Combine(folder, "config.json"));
            PretrainedModel.Save(model, written, config.ModelType,
                new() { ShardBytes = new FileInfo(Path.Combine(folder, "model.safetensors")).Length / 3, SettingsFrom = config });
            var again = PretrainedModel.LoadDesign(written);
            if (again.Diff(model.Design) is { Count: > 0 } differences)
                throw new InvalidDataException($"the design became another: {string.Join("; ", differences)}");
            var files = Directory.GetFiles(written, "model*.safetensors").Select(SafetensorsFile.Open).ToArray();
            try
            {
                if (files.Length < 2) throw new InvalidDataException("one file was written; expected several");
                using var original = SafetensorsFile.Open(Path.Combine(folder, "model.safetensors"));
                // what the reference keeps and never uses, such as adapters of a shared layer's other uses, may be left out
                var kept = original.Entries.Where(entry => files.Any(file => file.Contains(entry.Name)) || !IsUnused(entry.Name)).ToArray();
                if (files.Sum(file => file.Entries.Count) != kept.Length) throw new InvalidDataException("another number of tensors was written");
                // names, and with them shapes, may be the published ones where the file has those that the reference saves
                return kept.All(entry => files.Any(file => file.Contains(entry.Name) && file[entry.Name].Shape.SequenceEqual(entry.Shape)))
                    ? Largest(kept.Select(entry => Written(entry.Name, PretrainedModel.IsMapped(model.Design, config.ModelType, entry.Name)
                        ? Mapped(model, written)
                        : Difference(original.Read(entry.Name), files.Single(file => file.Contains(entry.Name)).Read(entry.Name)))).ToArray())
                    : Reread(model, written);
            }
            finally
            {
                foreach (var file in files) file.Dispose();
            }
        }
        finally
        {
            place.Delete(recursive: true);
        }
    }

    // tables of decays between 0 and 1 that follow from the configuration are computed again, with float32's rounding; weights are copied
    static double Written(string name, double error) => IsTable(name) && error <= 2e-7 ? 0 : error;

    static bool IsTable(string name) => new[] { ".slope_rate", ".query_decay", ".key_decay", ".diagonal_decay" }
        .Any(end => name.EndsWith(end, StringComparison.Ordinal));

    static double Reread(HybridLanguageModel model, string written)
    {
        using var again = PretrainedModel.Load(written, options: AsRecorded);
        if (again.State.Count != model.State.Count) throw new InvalidDataException("another number of weights was read again");
        return Largest(model.State.Select(item => Difference(item.Value, again.State[item.Key])).ToArray());
    }

    bool IsUnused(string name)
    {
        if (!expected.Contains($"grad.{name}")) return false;
        using var scope = NewDisposeScope();
        return Read($"grad.{name}").abs().max().item<float>() == 0;
    }

    public void Dispose() => expected.Dispose();
}
