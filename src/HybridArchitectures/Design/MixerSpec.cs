using System.Text.Json.Serialization;

namespace HybridArchitectures.Design;

/// <summary>What mixes information between positions in a block: attention, a state-space layer, both at once, or a mixer of your own
/// (derive from <see cref="CustomMixerSpec"/>).</summary>
public abstract partial record MixerSpec
{
    private protected MixerSpec() { }

    /// <summary>The one letter that stands for this mixer in a pattern string (see <see cref="BlockPattern"/>).</summary>
    [JsonIgnore]
    public abstract string Symbol { get; }

    /// <summary>The same mixer with every size that was left at 0 filled in for a model of this width.</summary>
    public virtual MixerSpec Resolve(int width) => this;

    /// <summary>Refuses sizes that no module can have.</summary>
    /// <exception cref="ArgumentException">Names the property, what it was and what was expected.</exception>
    public abstract void Check(int width);

    /// <summary>Trainable parameters of the mixer in a model of this width, without the norm before it.</summary>
    public abstract long CountParameters(int width);

    /// <summary>Makes a mixer of your own known by name, so that designs holding it can be written to JSON and read back (its key <c>kind</c> is the name).
    /// Registering the same type under the same name again does nothing.</summary>
    /// <exception cref="ArgumentException">The name is empty or already stands for another type.</exception>
    public static void Register<T>(string name) where T : CustomMixerSpec => DesignJson.Register(typeof(T), name);
}
