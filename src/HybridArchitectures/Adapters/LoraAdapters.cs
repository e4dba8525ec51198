using System.Globalization;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Models;
using HybridArchitectures.Modules;
using HybridArchitectures.Storage;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace HybridArchitectures.Adapters;

/// <summary>
/// Adds low-rank adapters (arXiv 2106.09685) to the projections of a model: attention, state-space mixers, feed-forwards, every expert, custom mixers
/// as far as they use <see cref="Modules.Linear"/>, and optionally the head.
/// </summary>
/// <remarks>
/// While adapters are attached, only they are trained: <see cref="HybridLanguageModel.Parameters"/> lists nothing else. The adapter of a weight W
/// adds (alpha / rank) B A to it, with A of shape (rank, inputs) and B of shape (outputs, rank).
/// </remarks>
/// <example>
/// <code>
/// using var model = HybridDesign.Create(width: 64, vocabularySize: 256).WithAttention(heads: 4).WithFeedForward(FeedForwardSpec.SwiGlu(96))
///     .Depth(2).Build().CreateModel(seed: 0);
/// using var adapters = LoraAdapters.Attach(model, new LoraOptions { Rank = 8, Alpha = 16 });
/// Console.WriteLine(adapters.Coverage());                     // train the model now: only the adapters change
/// adapters.Save("example-adapters.safetensors");
/// </code>
/// </example>
public sealed class LoraAdapters : IDisposable
{
    const string FormatKey = "lora", Format = "1", RankKey = "rank", AlphaKey = "alpha", DropoutKey = "dropout", SizesKey = "sizes";

    readonly HybridLanguageModel model;
    readonly IReadOnlyList<LoraSite> sites;
    readonly IReadOnlyList<Parameter> frozen;
    bool detached;
    long dropoutSeed;

    LoraAdapters(HybridLanguageModel model, LoraOptions options, IReadOnlyList<LoraSite> sites)
    {
        (this.model, Options, this.sites) = (model, options, sites);
        var parameters = model.AllParameters().Select(item => item.Value).Where(value => value.requires_grad).ToArray();
        using var generator = new Generator((ulong)options.Seed, CPU);
        foreach (var site in sites)
        {
            var adapter = new LoraWeight(site.Weight.shape, site.Weight.device, options.SizeOf(site.Name), options.Dropout, generator);
            if (!model.training) adapter.eval();
            site.Owner.SetAdapter(site.Parameter, adapter);
        }
        SeedDropout(options.Seed);
        foreach (var parameter in parameters) parameter.requires_grad = false;
        frozen = parameters;
        model.AttachedAdapters = this;
    }

    internal HybridLanguageModel Model => model;

    /// <summary>Gets the options with which the adapters were created.</summary>
    public LoraOptions Options { get; }

    /// <summary>Gets the names of the weights that have an adapter.</summary>
    public IReadOnlyList<string> Weights => [.. sites.Select(site => site.Name)];

    /// <summary>Gets whether the updates are currently merged into the weights.</summary>
    public bool IsMerged { get; private set; }

    /// <summary>Adds adapters to a model. The outputs do not change, because a new adapter adds 0. All other parameters are frozen.</summary>
    /// <param name="model">A model without adapters, on the device on which it will be trained.</param>
    /// <param name="options">Rank, scale, dropout and targets. The default, null, means the default values.</param>
    /// <returns>The adapters. Disposing them detaches them.</returns>
    /// <exception cref="ArgumentException">
    /// The model already has adapters, an option is out of range, or no projection matches the options.
    /// </exception>
    public static LoraAdapters Attach(HybridLanguageModel model, LoraOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(model);
        options ??= new();
        options.Check(nameof(options));
        RequireNone(model);
        var sites = LoraSites.FromModel(model).Where(site => options.Targets.HasFlag(site.Target) && options.Only?.Invoke(site.Name) != false)
            .ToArray();
        if (sites.Length == 0)
            throw Require.Unfit(nameof(options),
                $"Targets is {options.Targets}{(options.Only is null ? "" : " with Only")}, which selects no projection of the model",
                "at least one");
        return new LoraAdapters(model, options, sites);
    }

    /// <summary>Restarts the random numbers of dropout with a seed. Training with the same seed then drops the same elements in every run.</summary>
    /// <param name="seed">The seed. Any number is valid.</param>
    public void SeedDropout(long seed)
    {
        RequireAttached();
        dropoutSeed = seed;
        foreach (var (number, site) in sites.Index()) site.Adapter!.Dropout.Seed(seed, number);
    }

    /// <summary>
    /// Returns the state of dropout, shape (1 + adapters), int64: the seed, and the number of masks that each adapter has drawn. Null without
    /// dropout.
    /// </summary>
    internal Tensor? DropoutState() => Options.Dropout == 0 ? null : tensor([dropoutSeed, .. sites.Select(site => site.Adapter!.Dropout.Draws)]);

    /// <summary>Restores a state that <see cref="DropoutState"/> returned.</summary>
    internal void RestoreDropout(Tensor state)
    {
        var numbers = TensorMemory.ToArray<long>(state);
        SeedDropout(numbers[0]);
        foreach (var (number, site) in sites.Index()) site.Adapter!.Dropout.Draws = numbers[number + 1];
    }

    internal static void RequireNone(HybridLanguageModel model)
    {
        model.RequireAlive();
        if (model.AttachedAdapters is not null)
            throw Require.Unfit(nameof(model), "model already has adapters", "a model without adapters; detach them first");
    }

    /// <summary>Returns the share of the model that has adapters, part by part.</summary>
    public LoraCoverage Coverage()
    {
        RequireAttached();
        var all = LoraSites.FromModel(model);
        var rows = new List<LoraCoverageRow>();
        foreach (var target in Enum.GetValues<LoraTargets>().Where(target => int.IsPow2((int)target)))
        {
            // a tied head has no separate parameters
            var targeted = all.Where(site => site.Target == target).ToArray();
            if (targeted.Length == 0) continue;
            var adapted = targeted.Where(site => site.Adapter is not null).ToArray();
            bool tied = target == LoraTargets.Head && model.Design.TiedHead;
            rows.Add(new(target.ToString(), targeted.Length, adapted.Length, tied ? 0 : targeted.Sum(Size), tied ? 0 : adapted.Sum(Size),
                adapted.Sum(site => site.Adapter!.Down.NumberOfElements + site.Adapter.Up.NumberOfElements)));
        }
        var projections = all.Where(site => !(site.Target == LoraTargets.Head && model.Design.TiedHead)).Select(site => site.Name)
            .ToHashSet(StringComparer.Ordinal);
        long rest = model.AllParameters().Where(item => !projections.Contains(item.Name) && !IsAdapter(item.Name))
            .Sum(item => item.Value.NumberOfElements);
        rows.Add(new("no projection", 0, 0, rest, 0, 0));
        return new([.. rows], model.Design.Depth,
            all.Where(site => site is { Block: not null, Adapter: not null }).Select(site => site.Block).Distinct().Count(),
            [.. all.Where(site => site.Adapter is null).Select(site => site.Name)]);
    }

    static long Size(LoraSite site) => site.Weight.NumberOfElements;

    static bool IsAdapter(string name) => name.Contains(".lora_", StringComparison.Ordinal) || name.StartsWith("lora_", StringComparison.Ordinal);

    /// <summary>
    /// Adds the updates to the weights. The outputs are the same without the cost of adapters, and <see cref="Checkpoints.Checkpoint.Save"/> writes
    /// a plain model.
    /// </summary>
    /// <exception cref="InvalidOperationException">The head has an adapter and is tied to the embedding, which must not change.</exception>
    public void Merge()
    {
        RequireAttached();
        if (model.Design.TiedHead && sites.Any(site => site.Target == LoraTargets.Head))
            throw new InvalidOperationException(
                "the head is tied to the embedding, so its adapter cannot be merged; remove the head from the targets, or untie it");
        Set(merged: true);
    }

    /// <summary>Subtracts the updates from the weights. They are restored up to rounding.</summary>
    public void Unmerge()
    {
        RequireAttached();
        Set(merged: false);
    }

    void Set(bool merged)
    {
        foreach (var site in sites) site.Adapter!.Merge(site.Weight, merged);
        IsMerged = merged;
    }

    /// <summary>Removes the adapters and makes the original parameters trainable again. Merged updates remain in the weights.</summary>
    public void Detach()
    {
        if (detached) return;
        detached = true;
        model.AttachedAdapters = null;
        if (model.IsDisposed) return;
        foreach (var site in sites) site.Owner.SetAdapter(site.Parameter, null);
        foreach (var parameter in frozen) parameter.requires_grad = true;
    }

    /// <summary>Saves the adapters without the model as a safetensors file. The file is replaced atomically.</summary>
    /// <param name="path">The file. Its folder must exist.</param>
    public void Save(string path)
    {
        RequireAttached();
        using var scope = NewDisposeScope();
        SafetensorsFile.Write(path, sites.SelectMany(
            site => new KeyValuePair<string, Tensor>[] { new($"{site.Name}.down", site.Adapter!.Down), new($"{site.Name}.up", site.Adapter.Up) }),
            Metadata());
    }

    internal Dictionary<string, string> Metadata()
    {
        var metadata = new Dictionary<string, string>
        {
            [FormatKey] = Format, [RankKey] = Options.Rank.ToString(CultureInfo.InvariantCulture),
            [AlphaKey] = Options.Alpha.ToString("R", CultureInfo.InvariantCulture),
            [DropoutKey] = Options.Dropout.ToString("R", CultureInfo.InvariantCulture),
        };
        // one line for each weight with another rank or alpha
        if (Options.Sizes.Count > 0)
            metadata[SizesKey] = string.Join(
                '\n', Options.Sizes.Select(item => FormattableString.Invariant($"{item.Weight} {item.Size.Rank} {item.Size.Alpha:R}")));
        return metadata;
    }

    /// <summary>Adds adapters that <see cref="Save"/> wrote to a model.</summary>
    /// <param name="model">A model of the design on which they were trained, without adapters.</param>
    /// <param name="path">The file.</param>
    /// <returns>The adapters. Disposing them detaches them.</returns>
    /// <exception cref="ArgumentException">The model already has adapters.</exception>
    /// <exception cref="InvalidDataException">
    /// The file contains no adapters, or those of another model: it names unknown weights, or shapes do not fit.
    /// </exception>
    public static LoraAdapters Load(HybridLanguageModel model, string path)
    {
        ArgumentNullException.ThrowIfNull(model);
        RequireNone(model);
        using var file = SafetensorsFile.Open(path);
        var options = ReadOptions(file);
        var names = file.Entries.Select(entry => entry.Name).Where(name => name.EndsWith(".down", StringComparison.Ordinal))
            .Select(name => name[..^".down".Length]).ToHashSet(StringComparer.Ordinal);
        return AttachFrom(model, options, names, adapters => file.ReadInto(adapters.sites.SelectMany(site => new (string Name, Tensor Value)[]
            { ($"{site.Name}.down", site.Adapter!.Down), ($"{site.Name}.up", site.Adapter.Up) }).ToDictionary(item => item.Name, item => item.Value)),
                path);
    }

    /// <summary>Adds the adapters with which a checkpoint was saved, if any. Their values are read later, together with the other tensors.</summary>
    internal static void AttachAs(HybridLanguageModel model, SafetensorsFile file)
    {
        if (!file.Metadata.ContainsKey(FormatKey)) return;
        string[] tensors = [.. file.Entries.Select(entry => entry.Name).Where(IsAdapter)];
        var names = tensors.Where(name => name.EndsWith(".down", StringComparison.Ordinal)).Select(WeightOf).ToHashSet(StringComparer.Ordinal);
        AttachFrom(model, ReadOptions(file), names, _ => { }, file.Path);
    }

    internal static LoraAdapters AttachFrom(
        HybridLanguageModel model, LoraOptions options, HashSet<string> names, Action<LoraAdapters> fill, string path)
    {
        var sites = LoraSites.FromModel(model).Where(site => names.Contains(site.Name)).ToArray();
        if (sites.Length != names.Count || names.Count == 0)
            throw new InvalidDataException(
                $"{path}: adapters of weights that the model does not have: "
                + $"{string.Join(", ", names.Except(sites.Select(site => site.Name)).Order().Take(10).DefaultIfEmpty("none at all"))}");
        var adapters = new LoraAdapters(model, options, sites);
        try
        {
            fill(adapters);
            return adapters;
        }
        catch
        {
            adapters.Detach();
            throw;
        }
    }

    static LoraOptions ReadOptions(SafetensorsFile file)
    {
        if (file.Metadata.GetValueOrDefault(FormatKey) != Format)
            throw new InvalidDataException(
                $"{file.Path}: {FormatKey} is \"{file.Metadata.GetValueOrDefault(FormatKey)}\"; expected \"{Format}\", as "
                + $"{nameof(LoraAdapters)}.{nameof(Save)} writes it");
        double Number(string key) => double.TryParse(
            file.Metadata.GetValueOrDefault(key), NumberStyles.Float, CultureInfo.InvariantCulture, out double value) ? value
            : throw new InvalidDataException($"{file.Path}: {key} is \"{file.Metadata.GetValueOrDefault(key)}\"; expected a number");
        double rank = Number(RankKey);
        if (rank is not (>= 1 and <= 1 << 20) || rank != Math.Floor(rank))
            throw new InvalidDataException($"{file.Path}: {RankKey} is {rank}; expected an integer from 1 to {1 << 20}");
        var options = new LoraOptions { Rank = (int)rank, Alpha = Number(AlphaKey), Dropout = Number(DropoutKey), Sizes = ReadSizes(file) };
        // checked before memory is allocated for a rank that only the metadata declares
        bool alone = !file.Entries.Any(entry => IsAdapter(entry.Name));
        foreach (var entry in file.Entries.Where(entry => (alone || IsAdapter(entry.Name)) && entry.Name.EndsWith(".down", StringComparison.Ordinal)))
        {
            int expected = options.SizeOf(alone ? entry.Name[..^".down".Length] : WeightOf(entry.Name)).Rank;
            if (entry.Shape.Count < 2 || entry.Shape[^2] != expected)
                throw new InvalidDataException($"{file.Path}: {entry} does not have rank {expected}");
        }
        try
        {
            options.Check("metadata");
        }
        catch (ArgumentException error)
        {
            throw new InvalidDataException($"{file.Path}: {Require.Text(error)}", error);
        }
        return options;
    }

    // returns the name of the weight for the tensor of an adapter in a checkpoint
    static string WeightOf(string tensor) => tensor[..^".down".Length].Replace("lora_", "", StringComparison.Ordinal);

    static HybridArchitectures.Design.EquatableList<(string, LoraSize)> ReadSizes(SafetensorsFile file)
    {
        if (!file.Metadata.TryGetValue(SizesKey, out string? lines)) return [];
        var sizes = new Dictionary<string, LoraSize>(StringComparer.Ordinal);
        foreach (string line in lines.Split('\n'))
        {
            bool isSize = line.Split(' ') is [var name, var rank, var alpha]
                && int.TryParse(rank, CultureInfo.InvariantCulture, out int size) && size is >= 1 and <= 1 << 20
                && double.TryParse(alpha, NumberStyles.Float, CultureInfo.InvariantCulture, out double scale) && double.IsFinite(scale)
                && sizes.TryAdd(name, new(size, scale));
            if (!isSize)
                throw new InvalidDataException(
                    $"{file.Path}: {SizesKey} contains the line \"{line}\"; expected the name of a weight, its rank and its alpha.");
        }
        return [.. sizes.Select(item => (item.Key, item.Value))];
    }

    internal void RequireAttached()
    {
        ObjectDisposedException.ThrowIf(detached, this);
        model.RequireAlive();
    }

    /// <summary>Detaches the adapters, see <see cref="Detach"/>.</summary>
    public void Dispose() => Detach();
}
