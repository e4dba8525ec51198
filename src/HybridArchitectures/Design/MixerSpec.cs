using System.Text.Json.Serialization;

namespace HybridArchitectures.Design;

/// <summary>
/// Describes what mixes information between positions in a block: attention, a state-space layer, both in parallel, or a custom mixer. A spec holds
/// the sizes and everything that follows from them without a module: parameters, operations, cache, saved activations, and how it is named and drawn.
/// To write a custom mixer, derive from <c>CustomMixerSpec</c> in <c>HybridArchitectures.Modules</c>.
/// </summary>
[JsonPolymorphic(TypeDiscriminatorPropertyName = DesignJson.Discriminator)]
[JsonDerivedType(typeof(AttentionSpec), "attention")]
[JsonDerivedType(typeof(Mamba1Spec), "mamba1")]
[JsonDerivedType(typeof(Mamba2Spec), "mamba2")]
[JsonDerivedType(typeof(IntraHybridSpec), "intraHybrid")]
[JsonDerivedType(typeof(ShortConvolutionSpec), "shortConvolution")]
[JsonDerivedType(typeof(GatedDeltaSpec), "gatedDelta")]
[JsonDerivedType(typeof(KimiDeltaSpec), "kimiDelta")]
[JsonDerivedType(typeof(LatentAttentionSpec), "latentAttention")]
[JsonDerivedType(typeof(LightningAttentionSpec), "lightningAttention")]
[JsonDerivedType(typeof(RgLruSpec), "rgLru")]
[JsonDerivedType(typeof(GatedLinearAttentionSpec), "gatedLinearAttention")]
[JsonDerivedType(typeof(Hgrn2Spec), "hgrn2")]
[JsonDerivedType(typeof(Rwkv7Spec), "rwkv7")]
[JsonDerivedType(typeof(Mamba3Spec), "mamba3")]
[JsonDerivedType(typeof(DifferentialAttentionSpec), "differentialAttention")]
public abstract record MixerSpec
{
    private protected MixerSpec() { }

    /// <summary>Gets the letter of this mixer in a pattern string, see <see cref="BlockPattern"/>.</summary>
    [JsonIgnore]
    public abstract string Symbol { get; }

    /// <summary>Returns the mixer with every size that is 0 derived from the model width.</summary>
    /// <param name="width">The number of channels of the residual stream.</param>
    public virtual MixerSpec Resolve(int width) => this;

    /// <summary>Checks that a module of these sizes is possible.</summary>
    /// <param name="width">The number of channels of the residual stream.</param>
    /// <exception cref="ArgumentException">A property is invalid. The message contains its name, its value, and what was expected.</exception>
    public abstract void Check(int width);

    /// <summary>Counts the trainable parameters, without the norm before the mixer.</summary>
    /// <param name="width">The number of channels of the residual stream.</param>
    public abstract long CountParameters(int width);

    /// <summary>
    /// Counts the entries of the weight matrices by which each token is multiplied. Biases, norms, convolutions and decays do not count.
    /// </summary>
    /// <param name="width">The number of channels of the residual stream.</param>
    public abstract double CountMatrixWeights(int width);

    /// <summary>
    /// Counts the floating point operations of one token's forward pass that are not products with weights: those between positions. A multiplication
    /// and an addition are two operations.
    /// </summary>
    /// <param name="width">The number of channels of the residual stream.</param>
    /// <param name="accounting">The accounting that defines which operations count.</param>
    /// <param name="seen">The number of tokens that the token sees: the mean over a row, or the number of one decoding step.</param>
    public abstract double CountMixingFlops(int width, FlopAccounting accounting, SeenTokens seen);

    /// <summary>Counts the bytes of the cache for one row, by kind.</summary>
    /// <param name="width">The number of channels of the residual stream.</param>
    /// <param name="length">The number of tokens seen.</param>
    /// <param name="elementSize">The bytes of an activation: 2 for bfloat16, 4 for float32, 8 for float64.</param>
    public abstract MixerCache CountCache(int width, long length, int elementSize);

    /// <summary>
    /// Counts the bytes of the cache for one row as Table 1 of arXiv 2510.04800 does: two bytes per value, keys and values of the tokens that a query
    /// sees, and as many convolution inputs as the convolution has taps.
    /// </summary>
    /// <param name="width">The number of channels of the residual stream.</param>
    /// <param name="length">The number of tokens seen.</param>
    public abstract double CountPaperCacheBytes(int width, long length);

    /// <summary>
    /// Counts the bytes of the cache that one decoding step reads and writes for one row. By default keys, values and custom states are read once,
    /// and convolution inputs and recurrent states are read and written.
    /// </summary>
    /// <param name="width">The number of channels of the residual stream.</param>
    /// <param name="length">The number of tokens seen, including the decoded one.</param>
    /// <param name="elementSize">The bytes of an activation.</param>
    public virtual double CountStepTraffic(int width, long length, int elementSize)
    {
        var cache = CountCache(width, length, elementSize);
        return cache.KeysAndValues + cache.Windows + 2.0 * (cache.Convolutions + cache.Scans) + cache.Other;
    }

    /// <summary>Counts the bytes per token that the module saves between its forward and its backward pass, without its input.</summary>
    /// <param name="width">The number of channels of the residual stream.</param>
    /// <param name="step">The shape of the training step.</param>
    public abstract double CountSavedActivations(int width, TrainingStepShape step);

    /// <summary>Gets whether something else than projections reads the input of the mixer, so that the input is saved. The default is true.</summary>
    internal virtual bool SavesInput => true;

    /// <summary>Returns how the mixer is named in tables and drawn in pictures.</summary>
    public abstract MixerDescription Describe();

    /// <summary>Gets how the mixer remembers earlier tokens.</summary>
    internal abstract MixerKind Kind { get; }

    /// <summary>
    /// Gets whether a cache can store the recurrent state of the mixer in bfloat16. The default is true for attention, which has none, and false
    /// otherwise.
    /// </summary>
    internal virtual bool StoresNarrowStates => Kind == MixerKind.Attention;

    /// <summary>Gets whether the mixer contains attention over all earlier tokens.</summary>
    internal virtual bool IsFullAttention => false;

    /// <summary>Gets whether the attention of the mixer has rotary positions, with or without a window.</summary>
    internal virtual bool HasPositions => false;

    /// <summary>Returns full attention without rotary positions, and any other mixer as it is.</summary>
    internal virtual MixerSpec WithoutPositions() => this;

    /// <summary>Gets the chunk size. Null means that the mixer does not compute chunk by chunk.</summary>
    internal virtual ChunkSetting? Chunks => null;

    /// <summary>
    /// Returns a recurrent mixer with a short convolution in addition. Null means that it has one already, or that it cannot have one.
    /// </summary>
    internal virtual MixerSpec? WithConvolution() => null;

    /// <summary>Gets whether the state of the mixer can follow changes of sign, such as parity.</summary>
    internal virtual bool TracksStates => false;

    /// <summary>Returns the mixer with an option on that lets its state follow changes of sign, or null if it has no such option.</summary>
    internal virtual MixerSpec? WithStateTracking() => null;

    /// <summary>Returns whether attention saves a mask, (length, length), which all rows share.</summary>
    internal virtual bool NeedsMask(TrainingStepShape step) => false;

    /// <summary>Gets whether the type is defined outside the library.</summary>
    internal virtual bool IsCustom => false;

    /// <summary>
    /// Registers a custom mixer under a name, so that designs with it can be written to JSON and read back (the key <c>kind</c> holds the name).
    /// Registering the same type under the same name again does nothing.
    /// </summary>
    /// <typeparam name="T">A type that derives from <c>CustomMixerSpec</c>.</typeparam>
    /// <exception cref="ArgumentException">The name is empty or already belongs to another type, or the type is not a custom mixer.</exception>
    public static void Register<T>(string name) where T : MixerSpec => DesignJson.Register(typeof(T), name);
}
