using System.Text.Json.Serialization;

namespace HybridArchitectures.Design;

/// <summary>
/// Describes the part of a block that mixes information between tokens: attention, a state-space layer, both in parallel, or a custom mixer (see
/// <see cref="CustomMixerSpec"/>).
/// </summary>
public abstract partial record MixerSpec
{
    private protected MixerSpec() { }

    /// <summary>Gets the letter of this mixer in a pattern string, see <see cref="BlockPattern"/>.</summary>
    [JsonIgnore]
    public abstract string Symbol { get; }

    /// <summary>Returns the mixer with every size that is 0 derived from the model width.</summary>
    public virtual MixerSpec Resolve(int width) => this;

    /// <summary>Checks that a module of these sizes is possible.</summary>
    /// <param name="width">The model width.</param>
    /// <exception cref="ArgumentException">A property is invalid. The message contains its name, its value, and what was expected.</exception>
    public abstract void Check(int width);

    /// <summary>Returns the number of trainable parameters in a model of the given width, without the norm before the mixer.</summary>
    public abstract long CountParameters(int width);

    /// <summary>
    /// Registers a custom mixer under a name, so that its designs can be written to JSON and read back. The key <c>kind</c> contains the name.
    /// Registering the same type under the same name again has no effect.
    /// </summary>
    /// <param name="name">The name.</param>
    /// <exception cref="ArgumentException">The name is empty or belongs to another type.</exception>
    public static void Register<T>(string name) where T : CustomMixerSpec => DesignJson.Register(typeof(T), name);
}
